"""A whole site for a measurement: its own data folder and port, one version active, throttles off; gone afterwards."""

import contextlib
import http.client
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.client import request_bytes

ROOT = Path(__file__).resolve().parent.parent
START_TIMEOUT_SECONDS = 60.0
EPHEMERAL_PORTS = Path("/proc/sys/net/ipv4/ip_local_port_range")


@dataclass(frozen=True)
class Site:
    url: str
    pid: int
    first_answer_seconds: float  # from the start of the process to the first photo answered

    @property
    def predict_url(self) -> str:
        return f"{self.url}/api/predictImage"

    def memory_mib(self) -> float:
        """The proportional set size of the web processes together in MiB (Linux)."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        total = 0
        for pid in (self.pid, *children):
            found = re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
            assert found
            total += int(found.group(1))
        return total / 1024


def free_port() -> int:
    """A port that nobody listens on, drawn from those that the system never gives to a connection by itself."""
    try:
        low, high = (int(word) for word in EPHEMERAL_PORTS.read_text().split())
    except FileNotFoundError:  # not Linux
        low, high = 49152, 65535
    ports = [*range(10_000, low), *range(high + 1, 65_536)] or [0]
    for port in random.SystemRandom().sample(ports, len(ports)):
        with contextlib.suppress(OSError), socket.socket() as sock:
            sock.bind(("127.0.0.1", port))
            return int(sock.getsockname()[1])
    raise RuntimeError("Every port is taken.")


def status_of(url: str, *, photo: Path | None = None, field: str | None = None, timeout: float = 10) -> int:
    """The HTTP status of a GET, or of a POST of `photo`. Raises OSError where nobody answers."""
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname or "127.0.0.1", parts.port or 80), timeout=timeout) as sock:
        get = f"GET {parts.path or '/'} HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode()
        sock.sendall(request_bytes(url, photo, field=field) if photo else get)
        response = http.client.HTTPResponse(sock)
        response.begin()
        response.read()
        return response.status


def await_first_answer(
    process: subprocess.Popen[bytes], url: str, photo: Path, *, field: str | None, log: Path
) -> None:
    """Return when the site at `url` has answered `photo` with 200; RuntimeError with the log when it never does."""
    end = time.monotonic() + START_TIMEOUT_SECONDS
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(OSError):
            if status_of(url, photo=photo, field=field) == 200:
                return
        time.sleep(0.02)
    raise RuntimeError(f"No answer from {url}:\n{log.read_text()[-3000:]}")


@contextlib.contextmanager
def serving(
    command: list[str], *, path: str, photo: Path, environment: Mapping[str, str], port: int, field: str | None = None
) -> Iterator[Site]:
    """Start `command`, wait until `path` on `port` answers `photo`, yield it, stop it."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        log = Path(folder) / "log"
        start = time.monotonic()
        with log.open("wb") as out:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**os.environ, **environment},
                stdout=out,
                stderr=subprocess.STDOUT,
                process_group=0,  # with whatever it starts
            )
        try:
            await_first_answer(process, f"http://127.0.0.1:{port}{path}", photo, field=field, log=log)
            yield Site(f"http://127.0.0.1:{port}", process.pid, time.monotonic() - start)
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(30)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # who did not listen


@contextlib.contextmanager
def site(version: Path, photo: Path, *, settings: Mapping[str, str] | None = None) -> Iterator[Site]:
    """The site itself on a fresh data folder, with the version in the folder `version` installed and active."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="bench-") as data_dir:
        environment = {
            "DATA_DIR": data_dir,
            "PORT": str(port),
            "SITE_URL": f"http://127.0.0.1:{port}",
            "PREDICT_RATE": "",  # measured without the throttle
            "LOGIN_RATE": "",
            **(settings or {}),
        }
        for command in (["migrate", "-v0"], ["importversion", str(version), "--activate"]):
            subprocess.run(
                [sys.executable, "manage.py", *command],
                cwd=ROOT,
                env={**os.environ, **environment},
                check=True,
                stdout=subprocess.DEVNULL,
            )
        server = [sys.executable, "-m", "breedsite.server"]
        with serving(server, path="/api/predictImage", photo=photo, environment=environment, port=port) as running:
            yield running
