"""The server on the wire: slow senders, large bodies, hang-ups, and its end."""

import contextlib
import gc
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from waitress.parser import HTTPRequestParser

from breedsite import listener, server
from breedsite.listener import MAX_HEADER_BYTES, Parser, Server, _limited, bound
from classifier.gate import BodyLimits, Gate
from tests.live import FORM, Wire, part
from tests.processes import FairClock

pytestmark = pytest.mark.alone

MB = 1024**2
LIMITS = BodyLimits(predict=15 * MB)
HEAD = b"POST /api/predictImage HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\n"


@pytest.fixture(autouse=True)
def patience(monkeypatch) -> None:
    """A test that stands still for a while on a busy machine finds everything as it was."""
    monkeypatch.setattr(listener, "LINGER_SECONDS", 60.0)
    monkeypatch.setattr(listener, "LAST_ANSWERS_SECONDS", 60.0)


@contextlib.contextmanager
def serving(application, threads: int = 4) -> Iterator[Server]:
    one = Server(Gate(application, places=2, limits=LIMITS), sockets=bound("127.0.0.1", 0), threads=threads)
    thread = threading.Thread(target=one.run, daemon=True)
    thread.start()
    try:
        yield one
    finally:
        one.stop()
        thread.join(60)
    assert not thread.is_alive()


@contextlib.contextmanager
def set_at_the_end(event: threading.Event) -> Iterator[None]:
    """Whoever waits for it goes on, whatever the test found."""
    try:
        yield
    finally:
        event.set()


def hello(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]


def test_who_drips_for_too_long_is_left(monkeypatch):
    monkeypatch.setattr(listener, "BODY_SECONDS", 0.3)
    monkeypatch.setattr(listener, "HEADER_SECONDS", 0.3)
    monkeypatch.setattr(listener, "CLEANUP_SECONDS", 0.1)
    with serving(hello) as one:
        port = one.addresses[0][1]
        header = socket.create_connection(("127.0.0.1", port))
        body = socket.create_connection(("127.0.0.1", port))
        header.sendall(b"POST /api/pre")
        body.sendall(HEAD + b"Content-Length: 1000000\r\n\r\nx")
        for connection in (header, body):
            connection.settimeout(30)
            assert connection.recv(1) == b"", "it is closed"
        assert Wire(port)("GET", "/").body == b"hello"


def test_bodies_on_their_way_take_no_more_memory_than_allowed(monkeypatch):
    monkeypatch.setattr(listener, "UNFINISHED_BYTES", 3 * MB)
    monkeypatch.setattr(listener, "CLEANUP_SECONDS", 0.1)
    with serving(hello) as one:
        port = one.addresses[0][1]
        connections = [socket.create_connection(("127.0.0.1", port), timeout=30) for _ in range(4)]
        for connection in connections:
            connection.sendall(HEAD + b"Content-Length: 2000000\r\n\r\n" + bytes(MB))
            time.sleep(0.05)
        assert connections[0].recv(1) == b"", "the oldest is let go"
        for connection in connections[1:]:
            connection.sendall(bytes(2000000 - MB))
            assert connection.recv(100).startswith(b"HTTP/1.1 200 OK")
            connection.close()


@pytest.mark.parametrize(
    ("header_seconds", "received", "finished", "drips"),
    [
        (19, 0, False, False),
        (21, 0, False, True),
        (29, 0, True, False),
        (40, 100, True, True),
        (600, 10**6, True, False),
    ],
)
def test_a_sender_must_be_faster_than_a_kilobyte_a_second(header_seconds, received, finished, drips):
    parser = Parser(Server.adjustments(LIMITS, threads=1))
    parser.began -= header_seconds
    parser.headers_finished, parser.body_bytes_received = finished, received
    assert parser.drips is drips


def test_a_large_body_is_refused_by_its_header_and_the_refusal_arrives(wire: Wire):
    """The client goes on sending without listening, as most do: the answer must still be there when it looks."""
    answer = wire("POST", "/api/predictImage", bytes(25 * MB), content_type="image/jpeg")
    assert (answer.status, answer.code) == (413, "file_too_large")
    assert answer.headers["Connection"] == "close"


def test_two_gigabytes_are_refused_at_once(wire: Wire):
    assert wire.raw(HEAD + b"Content-Length: 2147483648\r\n\r\n").status == 413, "by their header alone"


def test_chunks_without_end_are_refused_at_the_limit(wire: Wire):
    head = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
    answer = wire.raw(head, *[b"100000\r\n" + bytes(MB) + b"\r\n"] * 16)
    assert (answer.status, answer.json["limit_bytes"]) == (413, 15 * MB)


def test_other_paths_take_small_bodies_only(wire: Wire):
    answer = wire("POST", "/admin/login/", bytes(3 * MB), content_type=FORM)
    assert answer.status == 413 and "image" not in answer.json


def test_expect_100_continue_is_answered_before_the_body(wire: Wire, active_version, picture):
    with socket.create_connection(("127.0.0.1", wire.port), timeout=30) as connection:
        connection.sendall(HEAD + f"Content-Length: {len(picture)}\r\nExpect: 100-continue\r\n\r\n".encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 100 Continue")
        connection.sendall(picture)
        assert connection.recv(100).startswith(b"HTTP/1.1 200 OK")
    refused = wire.raw(HEAD + b"Content-Length: 99999999\r\nExpect: 100-continue\r\n\r\n")
    assert refused.status == 413


def test_it_says_nothing_of_itself(wire: Wire):
    for answer in (wire("GET", "/healthz"), wire("GET", "/api/nothing"), wire.raw(b"nonsense\r\n\r\n")):
        assert "Server" not in answer.headers and "Via" not in answer.headers
        assert answer.headers["X-Request-ID"]


def test_a_mistake_outside_of_django_is_a_problem_too():
    def broken(environ, start_response):
        raise RuntimeError("a secret")

    with serving(broken) as one:
        answer = Wire(one.addresses[0][1])("GET", "/")
    assert (answer.status, answer.code) == (500, "internal_error") and b"secret" not in answer.body


def test_nothing_of_a_body_is_written_to_disk(wire: Wire, active_version, make_picture, tmp_path, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a temporary file")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    monkeypatch.setattr("tempfile.NamedTemporaryFile", refuse)
    large = make_picture(size=(900, 700)) + bytes(9 * MB)
    for answer in (wire.photo(large), wire.form(part("image", large)), wire.photo(large, "/")):
        assert answer.status in {200, 415}  # the page takes forms only


def test_the_limit_of_one_path_is_not_the_limit_of_the_next():
    adjustments = Server.adjustments(LIMITS, threads=1)
    first, second = Parser(adjustments), Parser(adjustments)
    first.received(HEAD + b"Content-Length: 5000000\r\n\r\n")
    second.received(HEAD.replace(b"/api/predictImage", b"/admin/") + b"Content-Length: 5000000\r\n\r\n")
    assert first.error is None and second.error.code == 413
    assert isinstance(first, HTTPRequestParser) and _limited(adjustments, 7).max_request_body_size == 8


def test_a_header_at_the_limit_is_read(wire: Wire):
    assert wire("GET", "/healthz", x_long="x" * (MAX_HEADER_BYTES - 500)).status == 200
    assert wire("GET", "/healthz", x_long="x" * MAX_HEADER_BYTES).status == 431


def test_a_crowd_is_turned_away_by_the_thread_that_reads():
    """Two places, both taken, and no thread left: whoever comes is told at once, on a connection that stays."""
    go_on, threads = threading.Event(), set()

    def slow(environ, start_response):
        go_on.wait(100)
        threads.add(threading.current_thread().name)
        return hello(environ, start_response)

    with serving(slow, threads=2) as one, ThreadPoolExecutor(2) as pool, set_at_the_end(go_on):
        wire = Wire(one.addresses[0][1])
        inside = [pool.submit(wire.photo, b"x") for _ in range(2)]
        end = time.monotonic() + 60
        while one.listeners[0].gate.inside < 2 and time.monotonic() < end:
            time.sleep(0.005)
        request = HEAD + b"Content-Length: 1\r\n\r\nx"
        with socket.create_connection(("127.0.0.1", wire.port), timeout=30) as connection:
            connection.sendall(request * 3000)  # at once, as no honest client does
            said = b""
            while said.count(b'"overloaded"') < 3000:
                said += connection.recv(100_000)
        assert b"Connection: close" not in said and said.count(b"HTTP/1.1 503") == 3000
        waits = {int(line.split()[1]) for line in said.split(b"\r\n") if line.startswith(b"Retry-After")}
        assert waits == {3, 4, 5, 6, 7}
        go_on.set()
        assert [answer.result().body for answer in inside] == [b"hello"] * 2
    assert len(threads) == 2


def test_answers_under_way_go_out_before_the_end():
    begun, go_on = threading.Event(), threading.Event()

    def slow(environ, start_response):
        begun.set()
        go_on.wait(100)
        return hello(environ, start_response)

    with serving(slow) as one, ThreadPoolExecutor(1) as pool, set_at_the_end(go_on):
        wire = Wire(one.addresses[0][1])
        asked = pool.submit(wire, "GET", "/")
        assert begun.wait(60)
        one.stop()
        end = time.monotonic() + 60
        while time.monotonic() < end:
            try:
                socket.create_connection(("127.0.0.1", wire.port)).close()
                time.sleep(0.02)
            except ConnectionRefusedError:
                break
        else:
            raise AssertionError("it still listens")
        go_on.set()
        assert asked.result().body == b"hello"


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("server")


@contextlib.contextmanager
def started(data_dir: Path, **settings: str) -> Iterator[subprocess.Popen[str]]:
    own = {"DATA_DIR": str(data_dir), "DATABASE_URL": f"sqlite:///{data_dir}/site.sqlite3"}
    environment = {**os.environ, **own, **settings}
    command = [sys.executable, "-m", "breedsite.server"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_process_says_where_it_listens_and_ends_when_asked(data_dir: Path, number: int):
    with started(data_dir, PORT="0", SITE_URL="http://localhost:8000") as process:
        port = int(process.stdout.readline().rpartition(":")[2])
        assert Wire(port)("GET", "/healthz").json == {"status": "ok"}
        assert Wire(port).photo(b"x").code == "no_active_model", "without tables it still answers"
        assert Wire(port)("GET", "/readyz").status == 503
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        clock = FairClock([process.pid, *map(int, children)])
        process.send_signal(number)
        assert clock.until(lambda: process.poll() is not None) < 10
        assert process.returncode == 0


def test_a_taken_port_is_said_in_one_line(data_dir: Path):
    other = socket.create_server(("127.0.0.1", 0))
    with other, started(data_dir, PORT=str(other.getsockname()[1])) as process:
        _, said = process.communicate(timeout=60)
    assert process.returncode == 1 and "set PORT" in said and "Traceback" not in said


def test_json_of_problems_is_what_json_says(wire: Wire):
    assert json.loads(wire.raw(b"nonsense\r\n\r\n").body)["status"] == 400


def test_what_holds_itself_is_freed_before_long(monkeypatch):
    class Request:
        pass

    monkeypatch.setattr(server, "TIDY_SECONDS", 0.01)
    request = Request()
    request.itself, alive, freed, over = request, weakref.ref(request), threading.Event(), threading.Event()
    weakref.finalize(request, freed.set)
    gc.disable()
    try:
        del request
        assert alive() is not None
        thread = threading.Thread(target=server.tidy, args=(over,))
        thread.start()
        assert freed.wait(30)
    finally:
        gc.enable()
        over.set()
        thread.join(30)
