"""Several processes behind one address."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.live import Wire
from tests.processes import gone, open_files, running

pytestmark = pytest.mark.alone

ROOT = Path(__file__).resolve().parent.parent


class Site(Wire):
    """A server of two processes, without a model."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        assert process.stdout is not None
        super().__init__(int(process.stdout.readline().rpartition(":")[2]))
        self.process = process
        self.log = log

    def children(self) -> set[int]:
        found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(self.process.pid)], capture_output=True, text=True)
        return {int(word) for word in found.stdout.split()}

    def wait_for_children(self, count: int, *, without: int = 0) -> set[int]:
        end = time.monotonic() + 60
        while len(children := self.children() - {without}) != count:
            assert time.monotonic() < end, f"{children} instead of {count} processes"
            time.sleep(0.05)
        return children


def sockets_of(pid: int) -> list[str]:
    """The sockets that a process holds, those of the listener and of its own doings included."""
    return [file.name for file in open_files(pid) if file.name.startswith("socket:")]


def threads_of(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


@pytest.fixture
def site(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Site]:
    """A parameter is a line of Python that its parent runs before it serves."""
    settings = {"DATA_DIR": str(tmp_path), "DATABASE_URL": f"sqlite:///{tmp_path}/site.sqlite3", "PORT": "0"}
    settings |= {"SITE_URL": "http://localhost:8000", "WEB_PROCESSES": "2"}
    code = f"from breedsite import listener, server; {getattr(request, 'param', 'pass')}; server.main()"
    with (
        (tmp_path / "web.log").open("w") as log,
        subprocess.Popen(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env=os.environ | settings,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        ) as process,
    ):
        try:
            yield Site(process, tmp_path / "web.log")
        finally:
            process.kill()


def test_one_that_is_killed_is_replaced_while_the_other_answers(site: Site):
    before = site.wait_for_children(2)
    victim = min(before)
    statuses: set[int] = set()
    over = threading.Event()

    def ask() -> None:
        while not (statuses and over.is_set()):
            statuses.add(site("GET", "/healthz").status)

    asker = threading.Thread(target=ask)
    os.kill(victim, signal.SIGKILL)
    asker.start()
    try:
        after = site.wait_for_children(2, without=victim)
    finally:
        over.set()
        asker.join()
    assert before - after == {victim} and statuses == {200}
    assert "is replaced" in site.log.read_text()


def test_the_end_takes_all_of_them(site: Site):
    children = site.wait_for_children(2)
    site.process.send_signal(signal.SIGTERM)
    assert site.process.wait(60) == 0
    assert not any(running(pid) for pid in children)


def test_none_outlives_the_parent(site: Site):
    children = site.wait_for_children(2)
    site.process.kill()
    site.process.wait(10)
    assert gone(children)


@pytest.mark.parametrize("site", ["listener.FREER_FIRST_SECONDS = 30.0"], indirect=True)
def test_connections_are_shared_evenly(site: Site):
    """With patience for a neighbour that a busy machine wakes late."""
    end = time.monotonic() + 60
    while any(threads_of(pid) < 10 for pid in site.wait_for_children(2)):
        assert time.monotonic() < end, "both serve"
        time.sleep(0.05)
    children = site.children()
    before = {pid: len(sockets_of(pid)) for pid in children}

    def taken() -> list[int]:
        return [len(sockets_of(pid)) - before[pid] for pid in children]

    with ExitStack() as connections:

        def connect(count: int) -> None:
            doors = [socket.create_connection(("127.0.0.1", site.port)) for _ in range(count)]
            for door in doors:
                connections.enter_context(door)
                door.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert door.recv(100).startswith(b"HTTP/1.1 200")

        while min(taken()) == 0:  # one has its threads a moment before it serves
            connect(1)
        first = sum(taken())
        connect(first + 20)
        assert sum(taken()) == 2 * first + 20 and min(taken()) >= sum(taken()) // 4


def test_children_that_cannot_start_end_it():
    program = """
import sys
from breedsite import prefork
prefork.PAUSE_SECONDS = 0.05
serve = lambda ready, neighbours: sys.exit("this cannot be")
sys.exit(prefork.Processes(2, serve, lambda: print("ready"), doors=[]).run())
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert done.returncode == 1 and "this cannot be" in done.stderr and done.stdout == ""
