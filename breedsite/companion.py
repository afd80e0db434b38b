"""A process beside the web processes that they can do without: started again when it dies, killed at the end.

Its deaths are no reason to stop anything, so it is tried again for ever, after longer and longer pauses. Plain Python.
"""

import logging
import os
import signal
import time
from collections.abc import Sequence
from contextlib import suppress

from breedsite.launcher import CALM_SECONDS, PAUSES_SECONDS, ending
from breedsite.tether import die_with

log = logging.getLogger(__name__)

IN_VAIN = 69  # an exit code: there is nothing here for it to work with, and there will not be


class Companion:
    """The process of one command. All calls come from the one thread of the process that starts it and waits for it."""

    def __init__(self, name: str, command: Sequence[str]) -> None:
        self.name = name
        self.command = tuple(command)
        self.pid: int | None = None  # while it runs
        self.due: float | None = 0.0  # when to start it, monotonic seconds
        self._started = 0.0  # monotonic seconds
        self._deaths = 0  # in a row

    def start_if_due(self) -> None:
        if self.due is None or time.monotonic() < self.due:
            return
        self.due, self._started = None, time.monotonic()
        parent = os.getpid()
        if pid := os.fork():
            self.pid = pid
            return
        try:
            die_with(parent)
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            os.execv(self.command[0], self.command)  # noqa: S606 - signals with a handler have none afterwards
        except BaseException:
            log.critical("The %s cannot be started.", self.name, exc_info=True)
        finally:
            os._exit(1)  # the parent's own way out is not the child's

    def ended(self, code: int, *, last: bool) -> None:
        """Whoever waited for it says how it ended; negative is the number of a signal. `last`: it is not missed."""
        lived = time.monotonic() - self._started
        self.pid = None
        if code == IN_VAIN or last:
            return
        self._deaths = 1 if lived > CALM_SECONDS else self._deaths + 1
        pause = PAUSES_SECONDS[min(self._deaths, len(PAUSES_SECONDS)) - 1]
        self.due = time.monotonic() + pause
        log.error("The %s %s after %.0f s; it is started again in %.0f s.", self.name, ending(code), lived, pause)

    def kill(self) -> None:
        """It has nothing to put away. Whoever waits for it still has to."""
        self.due = None
        if self.pid is not None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
