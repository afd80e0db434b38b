"""First come, first served: a bounded line in front of a few threads that work."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")


class LineFull(Exception):
    """No place left in the line, or the turn did not come in time."""


class Line:
    """`workers` threads do what callers ask, in the order in which they came; `places` more callers may wait.

    The work moves to the thread, not the permission to the caller: under load a worker goes from one piece to the next
    without ever sleeping. Handing a lock from caller to caller instead costs a wake-up for each, and with it up to half
    of the rate, since the kernel likes to wake the next one on the core of the last. `tell` hears how many wait.
    """

    def __init__(self, workers: int, places: int, tell: Callable[[int], None] = lambda waiting: None) -> None:
        self.workers = workers
        self.room = workers + places
        self.tell = tell
        self.inside = 0  # callers who wait or are served
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="predict")

    def do(self, work: Callable[[], Result], *, max_wait_seconds: float) -> Result:
        """What `work` returns or raises; raises LineFull when it was not begun in time."""
        with self._lock:
            if self.inside >= self.room:
                raise LineFull
            self.inside += 1
            self.tell(self.waiting)
            future = self._pool.submit(work)  # within the lock, so that who came first is first
        try:
            return future.result(timeout=max_wait_seconds)
        except TimeoutError:
            if future.cancel():
                raise LineFull from None
            return future.result()  # it has begun, or the error is its own
        finally:
            del future  # an error of the work holds this call, which would hold the error: a circle around its photo
            with self._lock:
                self.inside -= 1
                self.tell(self.waiting)

    @property
    def waiting(self) -> int:
        """Callers whose turn has not come."""
        return max(0, self.inside - self.workers)
