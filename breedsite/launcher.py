"""Starts the processes of the site, shows what they say, restarts those that die and stops them all, in order.

One thread and one loop: children are tethered to it by the kernel (`breedsite.tether`), which watches the thread that
started them, and a process without other threads may safely run code between fork and exec. Plain Python.
"""

import collections
import contextlib
import errno
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TextIO

from breedsite.tether import die_with

QUICK_DEATH_SECONDS = 5.0  # a process that ends sooner than this after its start could not start
QUICK_DEATHS = 3  # so many in a row, and everything stops
PAUSES_SECONDS = (1.0, 2.0, 5.0, 10.0, 30.0)  # before the first, second... restart in a row
CALM_SECONDS = 60.0  # who lived so long starts again with the shortest pause
SAME_REQUEST_SECONDS = 1.0  # a signal sent to the whole group comes twice under make, which passes it on
LAST_LINES = 20  # of a quiet service, shown when it dies
LONGEST_LINE = 16_384  # bytes; longer ones are shown in pieces


class Failed(Exception):
    """Something cannot go on; the text is a sentence for people that says what to do."""


class Stopped(Exception):
    """A signal asked for the end."""


@dataclass(frozen=True)
class Service:
    """A process of the site. `wave`: those of wave 0 are stopped first, together, then those of wave 1."""

    name: str
    command: tuple[str, ...]
    wave: int = 0
    grace_seconds: float = 6.0  # between the request to stop and kill -9
    quiet: bool = False  # show its lines only when it dies


@dataclass
class Child:
    """A started service, from one start to the next."""

    service: Service
    process: subprocess.Popen[bytes]
    started: float = field(default_factory=time.monotonic)  # seconds, monotonic
    pending: bytes = b""  # the beginning of a line
    last: collections.deque[str] = field(default_factory=lambda: collections.deque(maxlen=LAST_LINES))


class Launcher:
    """Use it as a context: on the way out everything it started is gone, whatever happened inside."""

    def __init__(
        self, folder: Path, *, keep_open: Sequence[int] = (), out: TextIO | None = None, as_json: bool = False
    ) -> None:
        """`folder`: where the children run. `keep_open`: file descriptors they inherit. `as_json`: say objects."""
        self.folder = folder
        self.keep_open = tuple(keep_open)
        self.out = out or sys.stdout
        self.as_json = as_json
        self.colours = self.out.isatty() and "NO_COLOR" not in os.environ
        self.children: dict[str, Child] = {}
        self.restarts: dict[str, int] = {}  # in a row, by name
        self.quick: dict[str, int] = {}  # deaths right after the start, in a row, by name
        self.due: dict[str, tuple[float, Service]] = {}  # when to start again, seconds, monotonic
        self.asked: float | None = None  # when the first signal to stop came, seconds, monotonic
        self.hurry = False
        self.stopping = False
        self.selector = selectors.DefaultSelector()
        self.handlers: dict[int, object] = {}

    # --- signals --------------------------------------------------------------------------------------------------
    def __enter__(self) -> "Launcher":
        self.wake, sender = socket.socketpair()
        self.wake.setblocking(False)
        sender.setblocking(False)
        self.sender = sender
        self.before = signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
        self.selector.register(self.wake, selectors.EVENT_READ)
        # A shell starts `make run &` with SIGINT ignored; taking it all the same lets kill -INT and Ctrl-C stop it.
        wanted = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # under nohup a closed terminal stops nothing
            wanted.append(signal.SIGHUP)
        for number in wanted:
            self.handlers[number] = signal.signal(number, self._ask)
        self.handlers[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda number, frame: None)  # wakes the loop
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()
        for number, handler in self.handlers.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        signal.set_wakeup_fd(self.before)
        self.selector.close()
        self.wake.close()
        self.sender.close()

    def _ask(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.asked is None:
            self.asked = now
        elif now - self.asked > SAME_REQUEST_SECONDS:
            self.hurry = True

    # --- what the caller says -------------------------------------------------------------------------------------
    def start(self, service: Service) -> Child:
        """Start `service` now; it is kept running from here on."""
        self.due.pop(service.name, None)
        try:
            process = subprocess.Popen(
                service.command,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=os.environ | {"PYTHONUNBUFFERED": "1"},  # or lines would wait in their pipes
                pass_fds=self.keep_open,
                process_group=0,  # Ctrl-C reaches the launcher alone, and the group can be killed as a whole
                preexec_fn=partial(die_with, os.getpid()),  # safe: this process has one thread
            )
        except OSError as error:
            raise Failed(f"{service.command[0]} cannot be started: {error.strerror}.") from error
        assert process.stdout is not None
        os.set_blocking(process.stdout.fileno(), False)
        child = self.children[service.name] = Child(service, process)
        self.selector.register(process.stdout, selectors.EVENT_READ, child)
        return child

    def finish(self, service: Service) -> None:
        """Run `service` to its end. Raises `Failed` when it fails: what it said is on the screen."""
        child = self.start(service)
        while service.name in self.children:
            self.turn(once=service.name)
        if child.process.returncode != 0:
            raise Failed(f"{service.name} failed (exit code {child.process.returncode}): see its lines above.")

    def wait(self, ready: Callable[[], bool], what: str, *, seconds: float) -> None:
        """Go on as soon as `ready()` is true. Raises `Failed` after `seconds`."""
        end = time.monotonic() + seconds
        while not ready():
            if time.monotonic() > end:
                raise Failed(f"{what} did not answer within {seconds:.0f} s: see the lines above.")
            self.turn(longest_seconds=0.05)

    def watch(self) -> None:
        """Keep everything running until a signal asks for the end (`Stopped`) or something cannot go on (`Failed`)."""
        while True:
            self.turn()

    def say(self, text: str, *, name: str = "breedsite") -> None:
        """Print each line of `text` behind the name of who says it."""
        for line in text.splitlines():
            if self.as_json:
                self._print(as_object(line, name))
                continue
            label = f"{name:<9} |"
            self._print(f"\x1b[36m{label}\x1b[0m {line}" if self.colours else f"{label} {line}")

    # --- the loop -------------------------------------------------------------------------------------------------
    def turn(self, *, longest_seconds: float = 0.5, once: str = "") -> None:
        """Pass on what was said, notice who died, start again who is due. `once`: that one may end."""
        if self.asked is not None and not self.stopping:
            raise Stopped
        for key, _ in self.selector.select(longest_seconds):
            if key.data is None:
                with contextlib.suppress(BlockingIOError):
                    self.wake.recv(4096)
            else:
                self._read(key.data)
        for child in [child for child in self.children.values() if child.process.poll() is not None]:
            self._bury(child)
            if child.service.name != once and not self.stopping:
                self._plan_restart(child)
        if self.asked is not None and not self.stopping:
            raise Stopped
        for moment, service in list(self.due.values()):
            if moment <= time.monotonic() and not self.stopping:
                self.start(service)

    def _read(self, child: Child) -> None:
        """Pass on the whole lines that wait in the child's pipe."""
        assert child.process.stdout is not None
        try:
            data = os.read(child.process.stdout.fileno(), 65_536)
        except BlockingIOError:
            return
        if not data:
            self.selector.unregister(child.process.stdout)
            child.process.stdout.close()
        *lines, child.pending = (child.pending + data).split(b"\n")
        if child.pending and (not data or len(child.pending) > LONGEST_LINE):
            lines.append(child.pending)
            child.pending = b""
        for line in lines:
            text = line.decode(errors="replace").rstrip()
            child.last.append(text)
            if not child.service.quiet:
                self.say(text or " ", name=child.service.name)

    def _bury(self, child: Child) -> None:
        """Pass on the last words of a dead child and kill what it left of its group."""
        with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS: EPERM for a group of zombies
            os.killpg(child.process.pid, signal.SIGKILL)
        pipe = child.process.stdout
        assert pipe is not None
        end = time.monotonic() + 1.0  # someone who left the group may hold the pipe open for ever
        while not pipe.closed and time.monotonic() < end:
            self._read(child)
            time.sleep(0.001)
        if not pipe.closed:
            self.selector.unregister(pipe)
            pipe.close()
        del self.children[child.service.name]

    def _plan_restart(self, child: Child) -> None:
        name, lived = child.service.name, time.monotonic() - child.started
        if child.service.quiet:
            self.say("\n".join(child.last), name=name)
        how = ending(child.process.returncode)
        self.quick[name] = self.quick.get(name, 0) + 1 if lived < QUICK_DEATH_SECONDS else 0
        if self.quick[name] >= QUICK_DEATHS:
            raise Failed(f"{name} {how} {self.quick[name]} times right after its start: see its last lines above.")
        self.restarts[name] = 1 if lived > CALM_SECONDS else self.restarts.get(name, 0) + 1
        pause = PAUSES_SECONDS[min(self.restarts[name], len(PAUSES_SECONDS)) - 1]
        self.say(f"{name} {how} after {lived:.0f} s; starting it again in {pause:.0f} s.")
        self.due[name] = (time.monotonic() + pause, child.service)

    # --- the end --------------------------------------------------------------------------------------------------
    def stop(self) -> None:
        """Stop everything: each wave is asked with SIGTERM, then killed; a second signal kills at once."""
        self.stopping = True
        self.due.clear()
        for wave in sorted({child.service.wave for child in self.children.values()}):
            members = [child for child in self.children.values() if child.service.wave == wave]
            for child in members:
                child.process.terminate()
            end = time.monotonic() + max(child.service.grace_seconds for child in members)
            while any(child.service.name in self.children for child in members):
                if time.monotonic() > end or self.hurry:
                    for child in members:
                        with contextlib.suppress(ProcessLookupError, PermissionError):
                            os.killpg(child.process.pid, signal.SIGKILL)
                self.turn(longest_seconds=0.05)

    def _print(self, line: str) -> None:
        try:
            print(line, file=self.out, flush=True)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):  # this line is lost; the next one may find room again
                return
            # The reader of our output is gone (`make run | head`): the site need not end for that.
            deaf, self.out = self.out, Path(os.devnull).open("w")  # noqa: SIM115
            with contextlib.suppress(OSError):  # it is no file
                errors = [2] if os.path.sameopenfile(deaf.fileno(), 2) else []
                for end in (deaf.fileno(), *errors):  # or Python fails at its end, with what is left unwritten
                    os.dup2(self.out.fileno(), end)


def as_object(line: str, service: str) -> str:
    """A line of a service as a JSON object: its own with the service's name, or one made of what it said."""
    try:
        found = json.loads(line)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        found = {"time": now, "level": "INFO", "logger": service, "message": line}
    return json.dumps({"service": service, **found}, ensure_ascii=False)


def ending(code: int) -> str:
    """How a process ended, in words: `ended with exit code 3`, `was killed by SIGKILL`."""
    if code >= 0:
        return f"ended with exit code {code}"
    return f"was killed by {signal.Signals(-code).name}"
