"""The process beside the web processes: missed when it dies, tried again, and gone when they are."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from breedsite.companion import IN_VAIN
from classifier.engines.resident import NO_DEVICE
from tests.engines import until
from tests.processes import gone, running

pytestmark = pytest.mark.alone

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = """
import logging, signal, sys, threading
from breedsite import companion, launcher, prefork
logging.basicConfig(level=logging.INFO)
companion.PAUSES_SECONDS = (0.05, 0.3)
def serve(ready, neighbours):
    ready()
    signal.pause()
beside = companion.Companion("engine process", [sys.executable, "-c", sys.argv[1]])
sys.exit(prefork.Processes(1, serve, lambda: None, doors=[], companion=beside).run())
"""


class Parent:
    """One web process, which does nothing, and beside it a process that runs `code`."""

    def __init__(self, folder: Path, code: str) -> None:
        self.log = folder / "log"
        with self.log.open("w") as log:
            command = [sys.executable, "-c", PROGRAM, f"import os, time; print(os.getpid(), flush=True); {code}"]
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)

    def __enter__(self) -> "Parent":
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.wait(30)

    def started(self) -> list[int]:
        """The processes that were started beside it."""
        return [int(found) for found in re.findall(r"^(\d+)$", self.log.read_text(), re.MULTILINE)]


def test_one_that_dies_is_started_again_and_the_web_processes_go_on(tmp_path):
    with Parent(tmp_path, "time.sleep(60)") as parent:
        until(parent.started)
        subprocess.run(["kill", "-9", str(parent.started()[0])], check=True)
        until(lambda: len(parent.started()) == 2)
        assert "The engine process was killed by SIGKILL after 0 s" in parent.log.read_text()
        assert "A web process has ended" not in parent.log.read_text()
        assert parent.process.poll() is None


def test_one_that_ends_at_once_is_tried_again_for_ever_ever_more_rarely(tmp_path):
    with Parent(tmp_path, "raise SystemExit(75)") as parent:
        until(lambda: len(parent.started()) >= 4)
        said = re.findall(r"ended with exit code 75 after 0 s; it is started again in (\d) s", parent.log.read_text())
        assert len(said) >= 3 and parent.process.poll() is None


def test_one_that_has_no_device_is_left_alone(tmp_path):
    assert IN_VAIN == NO_DEVICE == 69
    with Parent(tmp_path, "raise SystemExit(69)") as parent:
        until(parent.started)
        assert gone(parent.started())
        with pytest.raises(subprocess.TimeoutExpired):
            parent.process.wait(1)
        assert len(parent.started()) == 1 and "started again" not in parent.log.read_text()


@pytest.mark.parametrize("end", ["terminate", "kill"])
def test_it_does_not_outlive_its_parent(tmp_path, end):
    with Parent(tmp_path, "time.sleep(60)") as parent:
        until(parent.started)
        getattr(parent.process, end)()
        assert parent.process.wait(30) == {"terminate": 0, "kill": -9}[end]
        assert gone(parent.started())
        assert "started again" not in parent.log.read_text()


def test_the_parent_waits_for_its_end(tmp_path):
    with Parent(tmp_path, "time.sleep(60)") as parent:
        until(parent.started)
        parent.process.terminate()
        parent.process.wait(30)
        assert not any(running(process) for process in parent.started())
