"""Holding a row while a process of ours works on it: its heart beats, and who is asked to go hears of it."""

import copy
import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from types import FrameType
from typing import Any

from django.conf import settings
from django.db import Error, connection

from breedsite.jobs import Job

log = logging.getLogger(__name__)

BEAT_SECONDS = 1.0  # at most: a stop is heard of within this time
MUTE_SECONDS = 600.0  # without a beat that reached the database, after which a supervisor gives up


class Lost(Exception):
    """The row belongs to another process by now, or to nobody."""


class Heart(threading.Thread):
    """Beats for a job until the end of the block, with a connection of its own."""

    def __init__(self, job: Job) -> None:
        super().__init__(name="heart", daemon=True)
        self.job = copy.copy(job)
        self.live: dict[str, Any] = {}  # what the next beat tells
        self.lost = False
        self.stop_requested = job.stop_requested
        self._over = threading.Event()

    def __enter__(self) -> "Heart":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()

    def run(self) -> None:
        reached = monotonic()
        seconds = min(BEAT_SECONDS, settings.HEARTBEAT_SECONDS)
        try:
            while not self._over.wait(seconds):
                try:
                    self.lost = not self.job.beat(**self.live)
                    reached = monotonic()
                except Error as error:
                    log.warning("%s cannot beat now: %s", self.job, error)
                    connection.close()
                    self.lost = monotonic() - reached > MUTE_SECONDS
                self.stop_requested = self.job.stop_requested
                if self.lost:
                    return
        finally:
            connection.close()


class Ask:
    """Whether this process was asked to go: by a signal, or by the worker it belongs to."""

    def __init__(self, leaving: Callable[[], bool]) -> None:
        self._leaving = leaving
        self._signalled = False

    def __call__(self) -> bool:
        return self._signalled or self._leaving()

    @contextmanager
    def heard(self, *numbers: int) -> Iterator[None]:
        """Within the block these signals only ask."""

        def hear(_number: int, _frame: FrameType | None) -> None:
            self._signalled = True

        before = {number: signal.signal(number, hear) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
