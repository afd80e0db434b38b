"""Each thing that may hinder a start has its sentence; the whole program meets some of them in `test_up.py`."""

import fcntl
import os
import shutil
import time

import pytest

from breedsite import obstacles
from breedsite.launcher import Failed

pytestmark = pytest.mark.alone


def test_a_full_disk_is_answered_with_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(10**9, 10**9 - 2**20, 2**20))
    with pytest.raises(Failed, match="has 1 MB left, and 200 MB are needed"):
        obstacles.room(tmp_path)


@pytest.mark.parametrize(
    ("host", "port", "said"),
    [("203.0.113.7", 8000, "correct HOST and PORT"), ("no.such.host.invalid", 8000, "correct HOST and PORT")],
)
def test_an_address_that_is_not_ours_is_answered_with_a_sentence(host, port, said):
    with pytest.raises(Failed, match=said):
        obstacles.free(host, port)


def test_the_lock_waits_for_the_last_process_of_a_killed_launcher(tmp_path, monkeypatch):
    monkeypatch.setattr(obstacles, "LAST_ONE_GOES_SECONDS", 0.3)
    file = tmp_path / "launcher.lock"
    file.write_text("999999999 http://127.0.0.1:1\n")
    with file.open() as left:
        fcntl.flock(left, fcntl.LOCK_EX)
        began = time.monotonic()
        with pytest.raises(Failed, match="already runs"):
            obstacles.only_one(tmp_path, "http://127.0.0.1:2")
        assert time.monotonic() - began >= 0.3
    lock = obstacles.only_one(tmp_path, "http://127.0.0.1:2")
    os.close(lock)
    assert file.read_text() == f"{os.getpid()} http://127.0.0.1:2\n"


@pytest.mark.parametrize("port", [0, 70000])
def test_a_port_that_does_not_exist_is_answered_with_a_sentence(port):
    with pytest.raises(Failed, match=f"There is no port {port}: choose one between 1024 and 65535"):
        obstacles.free("127.0.0.1", port)
