"""The whole site with one command: started, stopped, killed, and met with every obstacle a person may have."""

import http.client
import os
import re
import signal
import socket
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest
from django.conf import settings

from breedsite import up
from tests.processes import cpu_seconds, gone
from tests.site import Site

pytestmark = pytest.mark.alone

READY = r"Ready in ([\d.]+) s: (http://127\.0\.0\.1:\d+)"


def status(site: Site, path: str) -> int:
    with closing(http.client.HTTPConnection("127.0.0.1", site.port, timeout=30)) as connection:
        connection.request("GET", path)
        return connection.getresponse().status


@pytest.fixture(scope="module")
def used(tmp_path_factory) -> tuple[Path, str]:
    """A data folder on which the site has run once, and what it said."""
    data = tmp_path_factory.mktemp("used") / "var"
    with Site(data) as site:
        site.wait_for(READY)
        site.wait_for("sweep.* succeeded")
        assert status(site, "/healthz") == 200
        assert status(site, "/admin/login/") == 200
        everyone = site.processes()
        assert len(list(Path(f"/proc/{site.process.pid}/task").iterdir())) == 1  # or forking would be a risk
        web = 1 + settings.WEB_PROCESSES if settings.WEB_PROCESSES > 1 else 1
        assert len(everyone) == 5 + web  # the launcher, Valkey, the worker and its two, the web server
        assert not [process for process in everyone if "torch" in Path(f"/proc/{process}/maps").read_text()]
        assert site.stop() < 10
        assert site.process.returncode == 0
        assert gone(everyone)
    return data, site.text


def test_the_first_start_prints_the_address_and_a_generated_administrator(used):
    data, said = used
    assert re.search(READY, said)
    name, password = re.search(r"name (\S+), password (\S+) ", said).groups()
    assert re.fullmatch(r"admin-\w+", name)
    assert len(password) >= 16
    files = [file for file in data.rglob("*") if file.is_file()]
    assert files
    assert not [file for file in files if password.encode() in file.read_bytes()]


def test_the_administrator_can_sign_in_and_the_second_start_makes_no_other(used):
    data, said = used
    name, password = re.search(r"name (\S+), password (\S+) ", said).groups()
    with Site(data) as site:
        site.wait_for(READY)
        # Under 10 s where nothing else runs; told by the processor time, for here much else may run.
        assert sum(cpu_seconds(process) for process in site.processes()) < 10
        with closing(http.client.HTTPConnection("127.0.0.1", site.port, timeout=30)) as connection:
            connection.request("GET", "/admin/login/")
            page = connection.getresponse()
            cookie = page.getheader("Set-Cookie").split(";")[0]
            token = re.search(rb'csrfmiddlewaretoken" value="(\w+)"', page.read())[1].decode()
            connection.request(
                "POST",
                "/admin/login/?next=/admin/",
                f"csrfmiddlewaretoken={token}&username={name}&password={password}",
                {"Cookie": cookie, "Content-Type": "application/x-www-form-urlencoded"},
            )
            answer = connection.getresponse()
            assert (answer.status, answer.getheader("Location")) == (302, "/admin/")
        site.stop()
    assert "password" not in site.text
    with closing(sqlite3.connect(data / "breedsite.sqlite3")) as database:
        rows = database.execute("select username from auth_user").fetchall()
    assert rows == [(name,)]


def test_nothing_is_left_when_the_launcher_is_killed_and_the_next_start_is_unharmed(used):
    data, _ = used
    with Site(data) as site:
        site.wait_for(READY)
        site.wait_for("ready\\.$|worker.*ready")
        everyone = site.processes()
        site.process.kill()
        site.process.wait(10)
        with Site(data) as second:  # at once, while the first one's processes may still be ending
            second.wait_for(READY)
            assert gone(everyone)
            assert status(second, "/healthz") == 200
            assert second.stop() < 10


def test_a_killed_worker_takes_its_pool_along_and_is_started_again(used):
    data, _ = used
    with Site(data) as site:
        site.wait_for(READY)
        site.wait_for("sweep.* succeeded")
        worker = next(pid for pid in site.processes() if is_worker(pid))
        pool = [int(pid) for pid in Path(f"/proc/{worker}/task/{worker}/children").read_text().split()]
        assert len(pool) == 2
        os.kill(worker, signal.SIGKILL)
        assert gone(pool)
        site.wait_for("worker was killed by SIGKILL after .* s; starting it again in 1 s")
        site.wait_for(r"(?s)starting it again.*worker +\| .* ready\.")
        site.stop()


def is_worker(pid: int) -> bool:
    words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]
    return b"celery" in words and b"celery" not in Path(f"/proc/{parent}/cmdline").read_bytes().split(b"\0")


def test_it_stops_in_order_when_nobody_hears_it_any_more(used):
    data, _ = used
    with Site(data) as site:
        site.wait_for(READY)
        everyone = site.processes()
        site.deaf = True
        assert site.stop() < 10
        assert site.process.returncode == 0
        assert gone(everyone)


def test_it_stops_in_the_middle_of_its_start(tmp_path):
    with Site(tmp_path / "var") as site:
        site.wait_for("Database:")
        assert site.stop(signal.SIGINT) < 10
        assert site.process.returncode == 0
        assert not site.processes()


def test_a_second_launcher_on_the_same_data_says_so(used):
    data, _ = used
    with Site(data) as site:
        site.wait_for(READY)
        with Site(data) as second:
            assert second.ended() == 1
            assert f"breedsite already runs on the data folder {data} (process {site.process.pid}, http" in second.text
            assert "Traceback" not in second.text
            assert status(site, "/healthz") == 200
            site.stop()


def test_a_taken_port_is_answered_with_a_sentence(tmp_path):
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        door.listen()
        port = door.getsockname()[1]
        with Site(tmp_path / "var", PORT=str(port)) as site:
            assert site.ended() == 1
            assert site.text == (
                f"breedsite cannot run: Port {port} is taken: stop the program that uses it, or choose another one "
                f"with PORT={port + 1}."
            )


def test_a_data_folder_that_cannot_be_written_is_answered_with_a_sentence(tmp_path):
    (tmp_path / "file").touch()
    with Site(tmp_path / "file" / "var") as site:
        assert site.ended() == 1
        assert "cannot be written" in site.text
        assert "set DATA_DIR to a folder" in site.text
        assert "Traceback" not in site.text


def test_valkey_is_not_started_where_others_are_named(tmp_path, settings, monkeypatch):
    started = []

    class Recorder:
        def start(self, service):
            started.append(service.name)

        def finish(self, service):
            started.append(service.name)

        def wait(self, ready, what, seconds):
            pass

        def say(self, text):
            pass

    settings.BROKER_URL = settings.CACHE_URL = "redis://elsewhere:6379/0"
    up.bring_up(Recorder(), 0.0)
    assert started == ["setup", "worker", "web"]
    settings.BROKER_URL = f"redis+socket://{settings.VALKEY_SOCKET}?virtual_host=0"
    started.clear()
    up.bring_up(Recorder(), 0.0)
    assert started == ["valkey", "setup", "worker", "web"]


def test_what_the_site_writes_is_its_own_users_alone(used):
    data, _ = used
    for file in data.rglob("*"):
        assert stat.S_IMODE(file.stat().st_mode) & 0o077 == 0, file


def test_a_data_folder_with_a_long_name_has_its_socket_elsewhere(tmp_path):
    data = tmp_path / ("a long name " * 10) / "var"
    with Site(data) as site:
        site.wait_for(READY)
        site.wait_for("sweep.* succeeded")
        assert site.stop() < 10
    assert not list(data.rglob("*.sock"))
