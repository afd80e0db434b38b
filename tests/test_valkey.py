"""The embedded Valkey as the launcher starts it."""

import shutil
import signal
import stat
import subprocess
import time
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import redis

from breedsite import valkey
from tests.processes import FairClock, open_files, running

pytestmark = pytest.mark.alone


@contextmanager
def server(folder: Path):
    process = subprocess.Popen(
        valkey.command(valkey.find_server(), folder / "socket", folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        end = time.monotonic() + 60
        while not valkey.answers(folder / "socket"):
            assert process.poll() is None, process.stdout.read()
            assert time.monotonic() < end
            time.sleep(0.01)
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tmp_path.chmod(0o700)
    return tmp_path


def client(folder: Path) -> redis.Redis:
    return redis.Redis(unix_socket_path=str(folder / "socket"))


def test_nobody_answers_where_no_server_is(folder):
    assert not valkey.answers(folder / "socket")


def test_the_socket_that_a_kill_leaves_is_no_obstacle(folder):
    with server(folder) as process:
        process.send_signal(signal.SIGKILL)
        process.wait(10)
    assert (folder / "socket").exists()
    assert not valkey.answers(folder / "socket")
    with server(folder):
        assert client(folder).ping()


def test_it_writes_nothing_to_the_disk_which_may_be_full(folder):
    """With a file of its own it would refuse every write, and every PING, for as long as there is no room."""
    with server(folder) as process:
        client(folder).rpush("queue", "a", "b")
        process.terminate()
        process.wait(10)
        assert [file.name for file in folder.iterdir()] in ([], ["socket"])


def test_it_listens_on_its_socket_alone_and_for_its_user_alone(folder):
    with server(folder) as process:
        assert stat.S_IMODE((folder / "socket").stat().st_mode) == 0o700
        with closing(client(folder)) as one:
            assert one.config_get("port")["port"] == "0"
        mine = {str(file) for file in open_files(process.pid)}
        listening = [
            line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()
        ]
        assert not [line for line in listening if f"socket:[{line[9]}]" in mine]


def test_it_ends_soon_after_it_is_asked(folder):
    with server(folder) as process:
        client(folder).set("a", "b")
        clock = FairClock([process.pid])
        process.terminate()
        assert clock.until(lambda: process.poll() is not None) < 2
        assert process.returncode == 0
        assert not running(process.pid)


def test_a_machine_without_a_valkey_is_told_what_to_do(monkeypatch):
    def none():
        raise valkey.ValkeyBinaryNotFoundError

    monkeypatch.setattr(valkey, "get_binary_path", none)
    monkeypatch.setattr(shutil, "which", lambda name: "/usr/bin/redis-server" if name == "redis-server" else None)
    assert valkey.find_server() == Path("/usr/bin/redis-server")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(valkey.ServerMissing, match="name running servers in BROKER_URL and CACHE_URL"):
        valkey.find_server()
