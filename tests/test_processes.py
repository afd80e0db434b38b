"""What the tests see of processes, while these open and close files."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks.site import EPHEMERAL_PORTS, free_port
from tests.processes import FairClock, acts, doomed, of_site

pytestmark = pytest.mark.alone


@contextmanager
def process(*files: Path, **environment: str) -> Iterator[int]:
    """One that holds these files open and waits for its input."""
    opened = [file.open("w") for file in files]
    with subprocess.Popen(
        [sys.executable, "-c", "print('here', flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | environment,
        pass_fds=[file.fileno() for file in opened],
    ) as child:
        for file in opened:
            file.close()
        try:
            child.stdout.readline()
            yield child.pid
        finally:
            child.kill()


def test_a_file_that_is_closed_meanwhile_hides_no_process(tmp_path, monkeypatch):
    whole = Path.readlink

    def gone(self: Path) -> Path:
        if self.name in {"0", "1", "2"}:
            raise FileNotFoundError
        return whole(self)

    monkeypatch.setattr(Path, "readlink", gone)
    with process(DATA_DIR=str(tmp_path)) as named, process(tmp_path / "launcher.lock") as holds:
        assert sorted(of_site(tmp_path)) == sorted([named, holds])


def test_who_was_killed_and_waits_for_a_processor_to_end_acts_no_more():
    assert acts(os.getpid())
    process = subprocess.Popen(["sleep", "60"])
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert not acts(process.pid)
    process.wait()
    assert not acts(process.pid)
    assert doomed("SigPnd:\t0000000000000100\nShdPnd:\t0000000000000000\n")
    assert doomed("SigPnd:\t0000000000000000\nShdPnd:\t0000000000004100\n")
    assert not doomed("SigPnd:\t0000000000000000\nShdPnd:\t0000000000004000\nSigBlk:\t0000000000000100\n")


def test_a_fair_clock_stands_still_while_others_have_the_processors(monkeypatch):
    queued = iter([1.0, 501.0, 501.0])
    monkeypatch.setattr("tests.processes.queued_seconds", lambda process: next(queued))
    clock = FairClock([1])
    clock.began -= 503
    assert 3 <= clock.seconds() <= clock.seconds() < 60


def test_no_connection_of_the_system_takes_a_free_port():
    if not EPHEMERAL_PORTS.exists():
        pytest.skip("only Linux says which")
    low, high = map(int, EPHEMERAL_PORTS.read_text().split())
    if low <= 10_000 and high == 65_535:
        pytest.skip("this system leaves no others")
    assert not [port for port in (free_port() for _ in range(20)) if low <= port <= high]
