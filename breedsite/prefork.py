"""Several processes that serve one listening socket: started by fork, started again when they die, stopped together.

One interpreter runs Python on one core at a time; under a crowd a second one keeps the other cores from waiting for it.
The parent serves nothing, has one thread and loads no app, so that forking is safe and a child begins clean.
"""

import contextlib
import logging
import mmap
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from types import FrameType

from breedsite.companion import Companion
from breedsite.tally import tally
from breedsite.tether import die_with

log = logging.getLogger(__name__)

QUICK_DEATH_SECONDS = 5.0  # who ends sooner after its start could not start
QUICK_DEATHS = 3  # so many in a row, and everything stops
PAUSE_SECONDS = 1.0  # before a child that died starts again
GRACE_SECONDS = 8.0  # between the request to stop and kill -9


ABSENT = 2**31 - 1  # connections of a process that is not there


class Neighbours:
    """How many connections each process holds, in memory that all of them see; `own` is the process that looks."""

    def __init__(self, count: int) -> None:
        self.counts = memoryview(mmap.mmap(-1, 4 * count)).cast("i")
        for place in range(count):
            self.counts[place] = ABSENT  # until it serves: nobody waits for one that still loads its network
        self.own = 0

    def tell(self, connections: int) -> None:
        self.counts[self.own] = connections

    def let_go_first(self, longest_seconds: float) -> None:
        """Wait until another one has taken a connection, where one has fewer than this process."""
        before, end = self.counts.tolist(), time.monotonic() + longest_seconds
        while self.counts[self.own] > min(self.counts) and time.monotonic() < end and self.counts.tolist() == before:
            time.sleep(0.0005)


class Processes:
    """`run` keeps `count` children alive, each of which calls `serve(ready, neighbours)`, until SIGTERM or SIGINT.

    A child calls `ready` once, when it serves; `announce` is called here after the first time. `doors` are the sockets
    that the children inherit: here they are closed when the end begins, or they would let callers in until it is over.
    `companion` is kept alive beside them, and goes after them.
    """

    def __init__(
        self,
        count: int,
        serve: Callable[[Callable[[], object], Neighbours], None],
        announce: Callable[[], None],
        *,
        doors: Sequence[socket.socket],
        companion: Companion | None = None,
    ) -> None:
        self.count = count
        self.companion = companion
        self.serve = serve
        self.announce = announce
        self.doors = doors
        self.neighbours = Neighbours(count)
        tally.divide(count)
        self.started: dict[int, tuple[int, float]] = {}  # pid -> its place, and when, monotonic seconds
        self.quick_deaths = 0  # in a row
        self.stopping = False

    def run(self) -> int:
        """The exit code: 0 after a signal, 1 when the children cannot be kept alive."""
        self.hears, self.says = os.pipe()
        wakes, wake = os.pipe()
        for end in (wakes, wake):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)  # wakes the loop
        waiting = [self.hears, wakes]
        due = dict.fromkeys(range(self.count), 0.0)  # place -> when to start, monotonic seconds
        while not self.stopping:
            for place in [place for place, moment in due.items() if moment <= time.monotonic()]:
                del due[place]
                self._start(place)
            if self.companion:
                self.companion.start_if_due()
            starts = due or (self.companion and self.companion.due is not None)
            readable, _, _ = select.select(waiting, [], [], PAUSE_SECONDS / 2 if starts else None)
            if wakes in readable:
                os.read(wakes, 4096)
            if self.hears in readable:
                os.read(self.hears, 4096)
                waiting.remove(self.hears)  # the others are ready a moment later; nobody waits for them
                self.announce()
            for place, seconds in self._bury().items():
                self.quick_deaths = self.quick_deaths + 1 if seconds < QUICK_DEATH_SECONDS else 0
                due[place] = time.monotonic() + PAUSE_SECONDS
            if self.quick_deaths >= QUICK_DEATHS:
                log.critical("The web processes end right after their start: see the lines above.")
                break
        asked = self.stopping
        self._stop()
        return 0 if asked else 1

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.stopping = True

    def _start(self, place: int) -> None:
        parent, handled = os.getpid(), (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)
        signal.pthread_sigmask(signal.SIG_BLOCK, handled)  # one that comes now must not meet the parent's handler
        if pid := os.fork():
            self.started[pid] = (place, time.monotonic())
            signal.pthread_sigmask(signal.SIG_UNBLOCK, handled)
            return
        self.neighbours.own = place
        tally.take(place)
        die_with(parent)
        signal.set_wakeup_fd(-1)
        for number in handled:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, handled)
        code = 1
        try:
            self.serve(lambda: os.write(self.says, b"."), self.neighbours)
            code = 0
        except SystemExit as end:
            if isinstance(end.code, str):
                print(end.code, file=sys.stderr, flush=True)
            code = end.code if isinstance(end.code, int) else 1
        except BaseException:
            log.critical("A web process has ended with an error.", exc_info=True)
        finally:
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(OSError):
                    stream.flush()
            os._exit(code)  # the parent's own way out is not the child's

    def _bury(self) -> dict[int, float]:
        """The place of each child that has ended, and how long it lived, in seconds."""
        lived = {}
        while self.started or (self.companion and self.companion.pid):
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            if self.companion and pid == self.companion.pid:
                self.companion.ended(os.waitstatus_to_exitcode(status), last=self.stopping)
                continue
            place, start = self.started.pop(pid)
            lived[place] = time.monotonic() - start
            self.neighbours.counts[place] = ABSENT
            tally.clear(place)
            if not self.stopping:
                log.error("A web process has ended (exit code %d) and is replaced.", os.waitstatus_to_exitcode(status))
        return lived

    def _stop(self) -> None:
        for door in self.doors:
            door.close()
        self._signal(signal.SIGTERM)
        end = time.monotonic() + GRACE_SECONDS
        while self.started and time.monotonic() < end:
            self._bury()
            time.sleep(0.02)
        self._signal(signal.SIGKILL)
        while self.started:
            self._bury()
            time.sleep(0.02)
        if self.companion:
            self.companion.kill()
            while self.companion.pid:
                self._bury()
                time.sleep(0.02)

    def _signal(self, number: int) -> None:
        for pid in self.started:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
