"""The gate before Django: what it answers by itself, and that it lets no more in than there are places."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import Any

import pytest

from breedsite.wsgi import gated
from classifier.apps import make_predictor
from classifier.gate import BodyLimits, Gate, Headers, brings_photos
from tests.live import Answer, Wire
from tests.test_server import HEAD

pytestmark = pytest.mark.alone

LIMITS = BodyLimits(predict=15 * 1024**2)
JSON = [("Content-Type", "application/json")]


class Inside:
    """An application that holds who came in until `open` is set, and counts."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.lock = threading.Lock()
        self.now = self.most = self.came = 0

    def __call__(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        with self.lock:
            self.came += 1
            self.now += 1
            self.most = max(self.most, self.now)
        self.open.wait(10)
        with self.lock:
            self.now -= 1
        start_response("200 OK", JSON)
        return [b"{}"]


def ask(gate: Gate, path: str = "/api/predictImage", method: str = "POST", body: bytes = b"x", **environ: Any):
    said: list[Any] = []
    stream = BytesIO(body)
    values = {"REQUEST_METHOD": method, "PATH_INFO": path, "CONTENT_LENGTH": str(len(body)), "wsgi.input": stream}
    content = b"".join(gate(values | environ, lambda status, headers: said.extend([status, dict(headers)])))
    return said[0], said[1], content, stream


def test_no_more_come_in_than_there_are_places():
    inside = Inside()
    gate = Gate(inside, places=3, limits=LIMITS)
    with ThreadPoolExecutor(20) as pool:
        asked = [pool.submit(ask, gate) for _ in range(20)]
        while sum(one.done() for one in asked) < 17:
            time.sleep(0.001)
        inside.open.set()
    statuses = [one.result()[0] for one in asked]
    assert statuses.count("200 OK") == 3 == inside.most
    assert statuses.count("503 Service Unavailable") == 17
    assert ask(gate)[0] == "200 OK", "a place that is left can be taken again"


def test_fewer_come_in_when_their_bodies_are_large():
    inside = Inside()
    gate = Gate(inside, places=8, limits=LIMITS)
    large, small = 15 * 1024**2, 100_000
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(ask, gate, CONTENT_LENGTH=str(large)) for _ in range(2)]  # of 8 x 4 MB
        while inside.now < 2:
            time.sleep(0.001)
        assert gate.full("/api/predictImage", large) and not gate.full("/api/predictImage", small)
        assert ask(gate, CONTENT_LENGTH=str(large))[0] == "503 Service Unavailable"
        asked.append(pool.submit(ask, gate, body=b"y" * small))
        inside.open.set()
    assert [one.result()[0] for one in asked] == ["200 OK"] * 3
    assert gate.inside == gate.bytes_inside == 0


def test_one_comes_in_however_large_its_body_is():
    inside = Inside()
    inside.open.set()
    assert ask(Gate(inside, places=1, limits=LIMITS), CONTENT_LENGTH=str(15 * 1024**2))[0] == "200 OK"


@pytest.mark.parametrize(
    ("path", "large"),
    [
        ("/api/predictImage", True),
        ("/api/batches", True),
        ("/batches/", True),
        ("/api/batches/12/files", True),
        ("/api/batches/12/archive", True),
        ("/api/batches/12/start", False),
        ("/api/batches/12", False),
        ("/api/batches/x/files", False),
        ("/api/batches/12/files/more", False),
        ("/batches/12/do/delete/", False),
        ("/login/", False),
    ],
)
def test_large_bodies_are_read_where_photos_are_sent_alone(path: str, large: bool):
    assert (LIMITS.of(path) == LIMITS.predict) is large
    assert brings_photos("POST", path) is large and not brings_photos("GET", path)


def test_where_photos_are_small_a_piece_of_a_zip_is_not():
    limits = BodyLimits(predict=150_000)
    assert limits.of("/api/batches/1/archive") == limits.other > limits.of("/api/predictImage") == 150_000


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_photos_for_batches_take_places_too(method: str):
    gate = Gate(Inside(), places=1, limits=LIMITS)
    assert gate.enter()
    path = "/api/batches/1/archive" if method == "PUT" else "/api/batches"
    assert ask(gate, path, method)[0] == "503 Service Unavailable"


def test_a_place_is_given_back_when_the_application_breaks_down():
    def broken(environ, start_response):
        raise RuntimeError

    gate = Gate(broken, places=1, limits=LIMITS)
    for _ in range(3):
        with pytest.raises(RuntimeError):
            ask(gate)


def test_who_is_refused_is_told_when_to_come_back():
    gate = Gate(Inside(), places=1, limits=LIMITS)
    assert gate.enter()
    waits = set()
    for _ in range(100):
        status, headers, content, stream = ask(gate, body=b"y" * 100_000)
        problem = json.loads(content)
        assert status == "503 Service Unavailable" and problem["code"] == "overloaded"
        assert headers["Content-Type"] == "application/problem+json"
        assert headers["X-Request-ID"] == problem["request_id"]
        assert stream.read() == b"", "the body is drained"
        waits.add(int(headers["Retry-After"]))
    assert waits == {3, 4, 5, 6, 7}


def test_a_refusal_costs_less_than_a_millisecond():
    gate = Gate(Inside(), places=1, limits=LIMITS)
    assert gate.enter()
    began = time.thread_time()
    for _ in range(200):
        ask(gate, body=b"y" * 30_000)
    assert (time.thread_time() - began) / 200 < 0.001


@pytest.mark.parametrize(("method", "path"), [("GET", "/"), ("POST", "/admin/login/"), ("GET", "/api/model")])
def test_a_full_house_refuses_nothing_but_predictions(method: str, path: str):
    inside = Inside()
    inside.open.set()
    gate = Gate(inside, places=1, limits=LIMITS)
    assert gate.enter()
    assert ask(gate, path, method)[0] == "200 OK"
    assert ask(gate, "/", "POST")[0] == "503 Service Unavailable"


def test_healthz_asks_nobody():
    gate = Gate(Inside(), places=1, limits=LIMITS)
    assert gate.enter()
    status, headers, content, _ = ask(gate, "/healthz", "GET", b"")
    assert (status, content) == ("200 OK", b'{"status": "ok"}') and headers["Cache-Control"] == "no-store"
    assert ask(gate, "/healthz", "HEAD", b"")[2] == b""
    assert gate.application.came == 0


@pytest.mark.parametrize(("path", "limit"), [("/api/predictImage/", 15 * 1024**2), ("/admin/login/", 2.5 * 1024**2)])
def test_each_path_has_its_limit(path: str, limit: int):
    assert LIMITS.of(path) == limit
    inside = Inside()
    inside.open.set()
    gate = Gate(inside, places=1, limits=LIMITS)
    assert ask(gate, path, CONTENT_LENGTH=str(int(limit)))[0] == "200 OK"
    status, _, content, stream = ask(gate, path, CONTENT_LENGTH=str(int(limit) + 1))
    assert status == "413 Content Too Large" and json.loads(content)["limit_bytes"] == limit
    assert ("image" in json.loads(content)) is (limit == LIMITS.predict)
    assert stream.tell() == 0, "nothing of it is read"
    assert inside.came == 1


@pytest.mark.parametrize("length", ["-1", "1e3", "٣", " 3", "0x10"])
def test_a_length_that_is_no_number_is_refused(length: str):
    assert ask(Gate(Inside(), places=1, limits=LIMITS), CONTENT_LENGTH=length)[0] == "400 Bad Request"


@pytest.mark.parametrize(("threads", "processes"), [(1, 1), (2, 1), (2, 2), (8, 4), (32, 4)])
def test_it_lets_in_as_many_as_the_line_behind_it_holds(settings, threads: int, processes: int):
    settings.PREDICT_THREADS, settings.WEB_PROCESSES = threads, processes
    assert gated(Inside()).places == make_predictor()._line.room


# --- beside the content, an answer that Django does not give is like one of its own

RULES = [
    "Content-Security-Policy",
    "Permissions-Policy",
    "X-Content-Type-Options",
    "X-Frame-Options",
    "Referrer-Policy",
    "Cross-Origin-Opener-Policy",
]
HERE, ELSEWHERE = "https://a.example", "https://b.example"
LENGTHS = {400: "many", 413: str(2 * 1024**3), 503: "1"}  # by the status that they lead to, in a full house


@pytest.mark.parametrize(
    "sent",
    [
        f"POST / HTTP/1.1\r\nContent-Length: {LENGTHS[400]}",
        f"POST / HTTP/1.1\r\nContent-Length: {LENGTHS[413]}",
        f"GET /nothing HTTP/1.1\r\nX-Long: {'x' * 40_000}",
        "GET /healthz HTTP/1.1",
    ],
    ids=["400", "413", "431", "healthz"],
)
def test_a_browser_hears_the_rules_of_every_page(wire: Wire, sent: str):
    answer = wire.raw(f"{sent}\r\nHost: localhost\r\nAccept: text/html\r\n\r\n".encode())
    page = wire("GET", "/nothing", accept="text/html")
    assert {name: answer.headers[name] for name in RULES} == {name: page.headers[name] for name in RULES}
    assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
    assert b"http-equiv" not in answer.body


@pytest.mark.parametrize("status", LENGTHS)
@pytest.mark.parametrize("origin", [HERE, ELSEWHERE])
def test_a_page_of_an_origin_that_may_read_answers_may_read_a_refusal(
    wire: Wire, settings, monkeypatch, status: int, origin: str
):
    from breedsite.wsgi import application

    settings.CORS_ALLOWED_ORIGINS = [HERE]
    monkeypatch.setattr(application, "headers", gated(application.application).headers)
    monkeypatch.setattr(application, "places", 0)
    monkeypatch.setattr(application, "inside", 1)
    refusal = wire.raw(HEAD + f"Origin: {origin}\r\nContent-Length: {LENGTHS[status]}\r\n\r\nx".encode())
    assert refusal.status == status
    assert cross_origin(refusal) == cross_origin(wire("GET", "/api/nothing", origin=origin))
    assert refusal.headers["Access-Control-Allow-Origin"] == (HERE if origin == HERE else None)
    if origin == HERE:
        assert "Retry-After" in refusal.headers["Access-Control-Expose-Headers"]


def cross_origin(answer: Answer) -> dict[str, str]:
    named = {name.lower(): value for name, value in answer.headers.items()}
    return {name: value for name, value in named.items() if name == "vary" or name.startswith("access-control")}


def test_so_may_it_read_what_the_gate_refuses_itself():
    gate = Gate(Inside(), places=1, limits=LIMITS, headers=Headers(origins=frozenset({HERE}), exposed=("Retry-After",)))
    assert gate.enter()
    assert ask(gate, HTTP_ORIGIN=HERE)[1]["Access-Control-Allow-Origin"] == HERE
    assert "Access-Control-Allow-Origin" not in ask(gate, HTTP_ORIGIN=ELSEWHERE)[1]
    assert "Access-Control-Allow-Origin" not in ask(gate, "/", HTTP_ORIGIN=HERE)[1]
