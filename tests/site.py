"""The whole site as a person starts it: `manage.py up` in a process of its own, heard through its output."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from benchmarks.site import free_port
from tests.processes import FairClock, of_site

ROOT = Path(__file__).resolve().parent.parent
FROM_OUTSIDE = ("BROKER_URL", "CACHE_URL", "DATABASE_URL", "SITE_URL")


class Site:
    """Use it as a context; whatever a test leaves running is killed at its end."""

    def __init__(self, data: Path, *arguments: str, **settings: str) -> None:
        self.data = data
        self.port = int(settings.get("PORT", free_port()))
        bare = {name: value for name, value in os.environ.items() if name not in FROM_OUTSIDE}
        environment = bare | {"DATA_DIR": str(data), "PORT": str(self.port)} | settings
        self.lines: list[str] = []
        self.deaf = False  # set it, and its output is closed after one more line
        self.process = subprocess.Popen(
            [*(arguments or (sys.executable, "manage.py", "up"))],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                self.lines.append(line.rstrip("\n"))
                if self.deaf:
                    break

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def wait_for(self, pattern: str, *, seconds: float = 60) -> re.Match[str]:
        """What it says, once it says it."""
        end = time.monotonic() + seconds
        while True:
            if match := re.search(pattern, self.text):
                return match
            over = self.process.poll() is not None and not self.reader.is_alive()
            assert not over and time.monotonic() < end, f"{pattern!r} was not said:\n{self.text}"
            time.sleep(0.02)

    def ended(self, *, seconds: float = 60) -> int:
        """Its exit code, once it has ended and everything it said is heard."""
        code = self.process.wait(seconds)
        self.reader.join(5)
        return code

    def stop(self, number: int = signal.SIGTERM) -> float:
        """Send it the signal and answer how long it took to end, in seconds of a fair clock."""
        clock = FairClock(self.processes())
        self.process.send_signal(number)
        seconds = clock.until(lambda: self.process.poll() is not None)
        self.ended()
        return seconds

    def processes(self) -> list[int]:
        """Everything that runs on its data folder."""
        return of_site(self.data)

    def __enter__(self) -> "Site":
        return self

    def __exit__(self, *error: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)
        for process in self.processes():
            with suppress(ProcessLookupError):  # it was dying already
                os.kill(process, signal.SIGKILL)
