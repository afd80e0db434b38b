"""A training process, seen by the one that started it: at low priority, tied to its life, heard through its events."""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Any

from trainer import environment

GRACE_SECONDS = 8.0  # between the request to leave and kill -9
NICE = 19
ROOT = Path(__file__).resolve().parent.parent


class Child:
    """`python -m trainer.process` on a job file. Start it from a thread that lives as long as it: the main one."""

    def __init__(self, job: Path, log: Path, *, tether: Callable[[], None]) -> None:
        """`tether()` runs in the new process before anything else and ties it to this one; the log is added to."""

        def prepare() -> None:
            tether()
            step_back()

        with log.open("ab") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "trainer.process", str(job)],
                cwd=ROOT,
                env=environment.completed(os.environ),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
                preexec_fn=prepare,
            )
        self.kill_at: float | None = None  # monotonic seconds
        self._events: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        threading.Thread(target=self._read, name="events", daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                if line.endswith(b"\n"):  # else it was killed in the middle of it
                    self._events.put(json.loads(line))
        self._events.put(None)

    def next_event(self, seconds: float) -> dict[str, Any] | None:
        """The next event if one comes within that time. EOFError after the last one: ask `code` then."""
        if self.kill_at is not None and monotonic() > self.kill_at:
            self.process.kill()
        try:
            event = self._events.get(timeout=seconds)
        except queue.Empty:
            return None
        if event is None:
            raise EOFError
        return event

    def leave(self) -> None:
        """Ask it to save a checkpoint and go; who does not go within the grace is killed. Asking twice is once."""
        if self.kill_at is None:
            self.process.send_signal(signal.SIGTERM)
            self.kill_at = monotonic() + GRACE_SECONDS

    def kill(self) -> None:
        """At once, and wait for its end."""
        self.process.kill()
        self.process.wait()

    @property
    def code(self) -> int:
        """Its exit code, negative for a signal."""
        return self.process.wait()


def step_back() -> None:
    """Let everything else on the machine come first: requests, imports; and let memory run out here, not there."""
    os.nice(NICE)
    for file, value in (("autogroup", NICE), ("oom_score_adj", 500)):
        with suppress(OSError):  # a kernel without them, or a container that forbids it: only the priority is lost
            Path(f"/proc/self/{file}").write_text(str(value))
