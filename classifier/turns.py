"""First come, first served: a bounded queue in front of something that only so many threads may use at once."""

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic


class LineFull(Exception):
    """No place left in the line, or the turn did not come in time."""


class Turns:
    """`slots` threads have their turn, `places` more wait in the order in which they came.

    threading.Semaphore lets a newcomer pass those who wait, which under load makes a long tail: here a turn that ends
    is handed to the one who waits longest.
    """

    def __init__(self, slots: int, places: int) -> None:
        self.free = slots
        self.places = places
        self.line: deque[threading.Lock] = deque()
        self.lock = threading.Lock()

    @contextmanager
    def turn(self, max_wait_seconds: float) -> Iterator[float]:
        """The seconds that were waited; raises LineFull."""
        waited = self.enter(max_wait_seconds)
        try:
            yield waited
        finally:
            self.leave()

    def enter(self, max_wait_seconds: float) -> float:
        with self.lock:
            if self.free:
                self.free -= 1
                return 0.0
            if len(self.line) >= self.places:
                raise LineFull
            mine = threading.Lock()
            mine.acquire()
            self.line.append(mine)
        began = monotonic()
        if not mine.acquire(timeout=max(max_wait_seconds, 0)):
            with self.lock:
                if mine in self.line:
                    self.line.remove(mine)
                    raise LineFull
                # The turn came between the end of the wait and here: it is ours, and must be taken.
        return monotonic() - began

    def leave(self) -> None:
        with self.lock:
            if self.line:
                self.line.popleft().release()
            else:
                self.free += 1
