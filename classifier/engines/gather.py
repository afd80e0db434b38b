"""Pictures that wait while a pass is made go through the network together in the next one; none waits for company."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np

Pass = Callable[[np.ndarray], np.ndarray]  # (B, H, W, 3) -> logits (B, K)


@dataclass(frozen=True)
class Gathered:
    """The rows of one caller, and how many pictures had that pass together."""

    logits: np.ndarray  # (B, K)
    together: int


@dataclass(frozen=True, eq=False)
class Waiting:
    through: Pass
    pictures: np.ndarray  # (B, H, W, 3)
    future: Future[Gathered] = field(default_factory=Future)


class Gather:
    """One thread makes all passes, at most `most` pictures in each, the oldest first.

    What goes through another network, or another size, waits for a pass of its own. An error of a pass is raised where
    each of its callers waits.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.passes = self.pictures = 0  # so far
        self._waiting: deque[Waiting] = deque()
        self._came = threading.Condition()
        self._began: float | None = None  # the pass that is being made, monotonic seconds
        self._thread = threading.Thread(target=self._run, name="passes", daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    @property
    def busy_seconds(self) -> float:
        """How long the pass takes that is being made now."""
        began = self._began
        return 0.0 if began is None else time.monotonic() - began

    def ask(self, through: Pass, pictures: np.ndarray) -> Future[Gathered]:
        """pictures (B, H, W, 3), B at most `most`"""
        one = Waiting(through, pictures)
        with self._came:
            self._waiting.append(one)
            self._came.notify()
        return one.future

    def _run(self) -> None:
        while True:
            self._pass(self._next())

    def _next(self) -> list[Waiting]:
        """Who goes together: the first, and whoever after it wants the same and finds room."""
        with self._came:
            while not self._waiting:
                self._came.wait()
            group = [self._waiting.popleft()]
            room, others = self.most - len(group[0].pictures), deque[Waiting]()
            for one in self._waiting:
                if len(one.pictures) <= room and alike(one, group[0]):
                    group.append(one)
                    room -= len(one.pictures)
                else:
                    others.append(one)
            self._waiting = others
            return group

    def _pass(self, group: list[Waiting]) -> None:
        self._began = time.monotonic()
        try:
            pictures = np.concatenate([one.pictures for one in group]) if len(group) > 1 else group[0].pictures
            self.passes, self.pictures = self.passes + 1, self.pictures + len(pictures)
            logits, begin = group[0].through(pictures), 0
            for one in group:
                rows = logits[begin : begin + len(one.pictures)]
                begin += len(one.pictures)
                one.future.set_result(Gathered(rows, len(pictures)))
        except BaseException as error:  # noqa: BLE001 - raised again where each of them waits
            for one in group:
                if not one.future.done():
                    one.future.set_exception(error)
        finally:
            self._began = None


def alike(one: Waiting, other: Waiting) -> bool:
    return one.through == other.through and one.pictures.shape[1:] == other.pictures.shape[1:]
