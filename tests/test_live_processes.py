"""Several web processes on one database and one cache, as a larger site runs them."""

import io
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from django.conf import settings as configured
from PIL import Image

from breedsite.keys import KNOWN_SECONDS
from breedsite.rates import SharedCounts
from tests.artifacts import make_artifact
from tests.live import Wire, part
from tests.processes import cpu_seconds

ROOT = Path(__file__).resolve().parent.parent
PROCESSES = 3


def run(*command: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of an installation with two versions, `left:1` active and `right:1`."""
    folder = tmp_path_factory.mktemp("processes")
    (folder / "tmp").mkdir()
    environment = {
        "DATA_DIR": str(folder / "var"),
        "DATABASE_URL": f"sqlite:///{folder / 'site.sqlite3'}",
        "CACHE_URL": configured.CACHE_URL,
        "SITE_URL": "http://localhost:8000",
        "PORT": "0",
        "TMPDIR": str(folder / "tmp"),
    }
    run("manage.py", "migrate", **environment)
    for name, letter in (("left", "l"), ("right", "r")):
        labels = [f"{letter}{number}" for number in range(5)]
        made = make_artifact(folder / name, labels=labels, name=name)
        run("manage.py", "importversion", str(made), **environment)
    run("manage.py", "activateversion", "left:1", **environment)
    return environment


@pytest.fixture
def wires(data: dict[str, str], request: pytest.FixtureRequest) -> Iterator[list[Wire]]:
    """Clients of the processes."""
    SharedCounts(configured.CACHE_URL).client.flushdb()  # what other tests asked a moment ago counts as well
    environment = os.environ | data | getattr(request, "param", {})
    with ExitStack() as stack:
        processes = [stack.enter_context(served(environment)) for _ in range(PROCESSES)]
        yield [wire_to(process) for process in processes]
        for process in processes:
            process.send_signal(signal.SIGTERM)
        assert [process.wait(60) for process in processes] == [0] * PROCESSES


@contextmanager
def served(environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """A web process, gone at the end; what it logs goes into a file of the data folder. It waits for its cache as long
    as a busy machine may take, for until it counts for itself again its counts would be wrong."""
    code = "from breedsite import rates, server; rates.TIMEOUT_SECONDS = 30.0; server.main()"
    with (
        (Path(environment["DATA_DIR"]) / "web.log").open("a") as log,
        subprocess.Popen(
            [sys.executable, "-c", code], cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=log, text=True
        ) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


def wire_to(process: subprocess.Popen[str]) -> Wire:
    """Its client, once it listens."""
    return Wire(int(process.stdout.readline().rpartition(":")[2]))


def forged() -> str:
    """An address that a caller makes up."""
    return ".".join(str(random.randrange(256)) for _ in range(4))


@pytest.mark.parametrize("wires", [{"PREDICT_RATE": "60/day"}], indirect=True)
def test_servers_count_a_caller_together(wires: list[Wire], picture: bytes):
    def ask(number: int) -> int:
        return wires[number % PROCESSES].photo(picture, x_forwarded_for=forged()).status

    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(ask, range(300)))
    assert set(statuses) == {200, 429} and statuses.count(200) == 60


@pytest.mark.parametrize("wires", [{"KEY_RATE": "60/day", "PREDICT_RATE": "1/day"}], indirect=True)
def test_servers_count_a_key_together_and_know_in_five_seconds_that_it_has_ended(
    wires: list[Wire], data: dict[str, str], picture: bytes
):
    run("manage.py", "createsuperuser", "--noinput", "--username", "ann", "--email", "ann@example.org", **data)
    secret = run("manage.py", "apikey", "create", "ann", "robot", "--scope", "predict", **data).strip()

    def ask(number: int) -> int:
        return wires[number % PROCESSES].photo(picture, authorization=f"Bearer {secret}").status

    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(ask, range(300)))
    assert set(statuses) == {200, 429} and statuses.count(200) == 60
    run("manage.py", "apikey", "revoke", secret.split("_")[1], **data)
    time.sleep(KNOWN_SECONDS)
    assert {ask(number) for number in range(PROCESSES)} == {401}


def test_the_processes_of_a_server_count_a_caller_together(data: dict[str, str], picture: bytes):
    """A thousand requests on connections of their own, whatever the caller writes into X-Forwarded-For."""
    SharedCounts(configured.CACHE_URL).client.flushdb()
    with served(os.environ | data | {"PREDICT_RATE": "60/day", "WEB_PROCESSES": "4"}) as server:
        wire = wire_to(server)
        children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
        before = [cpu_seconds(int(child)) for child in children]
        with ThreadPoolExecutor(8) as pool:
            statuses = list(pool.map(lambda _: wire.photo(picture, x_forwarded_for=forged()).status, range(1000)))
        after = [cpu_seconds(int(child)) for child in children]
        server.send_signal(signal.SIGTERM)
        server.wait(60)
    assert len(children) == 4 and all(then < now for then, now in zip(before, after, strict=True)), "each had some"
    assert set(statuses) == {200, 429} and statuses.count(200) == 60


@pytest.mark.parametrize("wires", [{"PREDICT_RATE": "", "VERSION_POLL_SECONDS": "0.2"}], indirect=True)
def test_all_processes_follow_the_active_version_without_a_failed_or_mixed_answer(
    wires: list[Wire], data: dict[str, str], picture: bytes
):
    over = threading.Event()
    wrong: list[object] = []
    answers = 0

    def ask(wire: Wire) -> None:
        nonlocal answers
        while not over.is_set():
            answer = wire.photo(picture)
            body = answer.json
            own = answer.status == 200 and {entry["label"][0] for entry in body["top"]} == {body["version"]["name"][0]}
            if not own or abs(sum(body["results"][0]) - 1) > 1e-6:
                wrong.append(body)
            answers += 1
            time.sleep(0.005)

    askers = [threading.Thread(target=ask, args=(wire,)) for wire in wires]
    for asker in askers:
        asker.start()
    try:
        for name in ("right", "left", "right", "left"):
            run("manage.py", "activateversion", f"{name}:1", **data)
            end = time.monotonic() + 60
            while {wire.photo(picture).json["version"]["name"] for wire in wires} != {name}:
                assert time.monotonic() < end, "not all processes have it"
                time.sleep(0.05)
    finally:
        over.set()
        for asker in askers:
            asker.join()
    assert wrong == [] and answers > 50


def test_a_photo_leaves_no_trace(data: dict[str, str], make_picture: Callable[..., bytes]):
    """A mark in the file's bytes, in its EXIF and in its name is in no file afterwards: neither of the data
    folder nor of the temporary one, nor in the log or the cache, also when the process is killed in the middle."""
    mark = os.urandom(16).hex()
    exif = Image.Exif()
    exif[0x010E] = f"taken at {mark}"  # ImageDescription
    with Image.open(io.BytesIO(make_picture())) as image:
        image.save(out := io.BytesIO(), "JPEG", exif=exif)
    photo = out.getvalue() + mark.encode()
    marked = part("image", photo, file=f"{mark}.jpg")
    with served(os.environ | data | {"PREDICT_RATE": ""}) as process:
        wire = wire_to(process)
        for path in ("/api/predictImage", "/"):
            assert mark.encode() not in (answer := wire.form(marked, path=path)).body and answer.status == 200
            assert wire.form(part("image", b"GIF89a" + photo, file=f"{mark}.gif"), path=path).status == 415
        assert wire.photo(photo).status == 200
        with socket.create_connection(("127.0.0.1", wire.port)) as connection:
            head = b"POST /api/predictImage HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999999\r\n\r\n"
            connection.sendall(head + photo)
            assert wire.photo(photo).status == 200, "and it goes on while this sender says no more"
            process.kill()
    folder = Path(data["DATA_DIR"]).parent
    held = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    assert {"site.sqlite3", "web.log", "spec.json"} <= {file.name for file in held}
    assert b"Unsupported Media Type: /api/predictImage" in held[folder / "var" / "web.log"]
    assert [file for file, content in held.items() if mark.encode() in content] == []
    cache = SharedCounts(configured.CACHE_URL).client
    assert [key for key in cache.scan_iter() if mark.encode() in key + cache.dump(key)] == []
