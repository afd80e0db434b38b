"""Keeps a predictor on the active version: looks every second, loads aside, swaps."""

import atexit
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from classifier.artifact import ArtifactError
from classifier.predictor import Identity, Predictor

log = logging.getLogger(__name__)

RETRY_SECONDS = 30.0  # a version that cannot be loaded is tried again this often


class Unreachable(Exception):
    """The place that knows the active version does not answer now."""


@dataclass(frozen=True)
class Target:
    """The version that should answer, and where it lies."""

    identity: Identity
    folder: Path


class Watcher:
    """`look()` tells the active version, None where there is none, or raises Unreachable; the predictor then stays.

    `report(identity, sentence)` is told why a version could not be loaded, and "" when it could after all. `seen` is
    told after each look which version answers; `bring` gets the folder of one that is to be loaded. In the thread, and
    only there, `rest()` follows every look and `end()` the last one: both are about its connection.
    """

    def __init__(
        self,
        predictor: Predictor,
        *,
        look: Callable[[], Target | None],
        report: Callable[[Identity, str], None],
        seen: Callable[[Identity | None], None],
        rest: Callable[[], None],
        end: Callable[[], None],
        seconds: float,
        bring: Callable[[Target], None] = lambda target: None,
    ) -> None:
        self.predictor = predictor
        self.look = look
        self.report = report
        self.seen = seen
        self.rest = rest
        self.end = end
        self.seconds = seconds
        self.bring = bring
        self.reachable = True
        self.failed: Identity | None = None
        self.retry_at = 0.0  # monotonic seconds
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begins to watch in a thread of its own; begins again where an unforeseen error has ended the thread."""
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run, name="version-watcher", daemon=True)
            self._thread.start()
            atexit.register(self.stop)

    def stop(self) -> None:
        self._stopping.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout=10)
        atexit.unregister(self.stop)

    @property
    def alive(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def _run(self) -> None:
        try:
            while not self._stopping.wait(self.seconds):
                self.step()
                self.rest()
        except BaseException:
            log.critical("The watcher of the active version has ended; the next request starts it again.")
            raise
        finally:
            self.end()

    def step(self) -> None:
        """One look: the predictor has the active version afterwards, or the one it had."""
        try:
            target = self.look()
        except Unreachable as error:
            if self.reachable:
                log.warning("The active version cannot be looked up, the loaded one goes on answering: %s", error)
            self.reachable = False
            return
        self.reachable = True
        current = self.predictor.current
        if target is None:
            if current is not None:
                log.warning("No version is active any more: %s is no longer loaded.", current.identity)
                self.predictor.close()
        elif current is None or current.identity != target.identity:
            self.swap(target)
        current = self.predictor.current
        self.predictor.tend()
        self.seen(None if current is None else current.identity)

    def swap(self, target: Target) -> None:
        if target.identity == self.failed and monotonic() < self.retry_at:
            return
        try:
            self.bring(target)
            self.predictor.load(target.identity, target.folder)
        except (ArtifactError, OSError, MemoryError) as error:
            sentence = str(error) or "there is not enough memory to load it"
            log.error("%s could not be loaded, %s: %s", target.identity, self.serving(), sentence)
            self.failed, self.retry_at = target.identity, monotonic() + RETRY_SECONDS
            self.report(target.identity, sentence)
        else:
            log.info("%s is loaded and answers.", target.identity)
            if self.failed == target.identity:
                self.report(target.identity, "")
            self.failed = None

    def serving(self) -> str:
        current = self.predictor.current
        return f"{current.identity} goes on answering" if current else "nothing answers"
