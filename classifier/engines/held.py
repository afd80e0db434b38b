"""The versions that an engine process holds: loaded in the background, verified, the latest few of them."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from classifier.artifact import ArtifactError, DeviceLost, Engine
from classifier.spec import Spec

log = logging.getLogger(__name__)

KEPT = 2  # while web processes swap one after the other, some still ask for the version before
AGAIN_SECONDS = 30.0  # one that could not be loaded is tried again so much later


@dataclass(frozen=True, eq=False)
class Held:
    """A version with its engine, and who is told when the device gives no answer any more."""

    digest: str
    spec: Spec
    engine: Engine
    lost: Callable[[DeviceLost], None]

    @property
    def device(self) -> str:
        return str(getattr(self.engine, "device", "cpu"))

    def through(self, pictures: np.ndarray) -> np.ndarray:
        """uint8 (B, H, W, 3) -> logits (B, K)"""
        try:
            return self.engine(pictures)
        except DeviceLost as error:
            self.lost(error)
            raise


@dataclass(frozen=True)
class Failure:
    sentence: str
    at: float  # monotonic seconds


class Versions:
    """`load(folder, digest)` gives a verified version or raises ArtifactError, DeviceLost.

    One that is not on `device` any more, where the memory did not suffice, is let go: what the processor answers, web
    processes answer themselves, several at a time.
    """

    def __init__(
        self,
        load: Callable[[Path, str], tuple[Spec, Engine]],
        *,
        device: str,
        lost: Callable[[DeviceLost], None],
    ) -> None:
        self.load = load
        self.device = device
        self.lost = lost
        self._held: dict[str, Held] = {}  # by digest, the one that was wanted last at the end
        self._failed: dict[str, Failure] = {}
        self._loading: dict[str, float] = {}  # digest -> since when, monotonic seconds
        self._state = threading.Lock()
        self._one_at_a_time = threading.Lock()

    @property
    def busy_seconds(self) -> float:
        """How long the load takes that has begun first of those under way."""
        with self._state:
            return time.monotonic() - min(self._loading.values()) if self._loading else 0.0

    def get(self, digest: str) -> Held | None:
        return self._held.get(digest)

    def failure(self, digest: str) -> str:
        """Why it cannot be held; empty where nothing is known against it, or that was long ago."""
        known = self._failed.get(digest)
        return known.sentence if known and time.monotonic() - known.at < AGAIN_SECONDS else ""

    def want(self, digest: str, folder: Path) -> Held | None:
        """The version, or None while it is loaded, which begins now, or where there is a `failure`."""
        with self._state:
            if held := self._held.pop(digest, None):
                self._held[digest] = held
                return held
            if digest not in self._loading and not self.failure(digest):
                self._loading[digest] = time.monotonic()
                threading.Thread(target=self._load, args=(digest, folder), name="load", daemon=True).start()
        return None

    def let_go(self, held: Held, sentence: str) -> None:
        with self._state:
            if self._held.pop(held.digest, None):
                log.warning("%s is let go: %s", held.spec.name, sentence)
            self._failed[held.digest] = Failure(sentence, time.monotonic())

    def left_its_device(self, held: Held) -> bool:
        """Whether it is on the processor now, for want of memory; then it is let go."""
        if held.device == self.device:
            return False
        self.let_go(held, f"it does not fit into the memory of {self.device}")
        return True

    def _load(self, digest: str, folder: Path) -> None:
        sentence = "it could not be loaded, for a reason that its log tells"
        try:
            with self._one_at_a_time:
                spec, engine = self.load(folder, digest)
            held = Held(digest, spec, engine, self.lost)
            if self.left_its_device(held):
                return
            with self._state:
                self._held[digest] = held
                while len(self._held) > KEPT:
                    del self._held[next(iter(self._held))]
            sentence = ""
            log.info("%s is held on %s.", spec.name, held.device)
        except DeviceLost as error:
            sentence = str(error)
            self.lost(error)
        except (ArtifactError, OSError, MemoryError) as error:
            sentence = str(error) or "there is not enough memory to load it"
            log.error("A version cannot be held: %s", sentence)
        finally:
            with self._state:
                del self._loading[digest]
                if sentence and not self.failure(digest):
                    self._failed[digest] = Failure(sentence, time.monotonic())
