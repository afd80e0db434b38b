"""The load client of the benchmarks: what it counts must be what a server did."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from benchmarks.client import Load, percentile, photos_below, request_bytes

pytestmark = pytest.mark.alone


class Alternating(BaseHTTPRequestHandler):
    """Answers 200 and 503 in turn and remembers what was posted."""

    protocol_version = "HTTP/1.1"
    seen: list[bytes]
    lock = threading.Lock()

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with self.lock:
            self.seen.append(body)
            refused = len(self.seen) % 2 == 0
        self.send_response(503 if refused else 200)
        if refused:
            self.send_header("Retry-After", "4")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    Alternating.seen = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Alternating) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}/predict"
        running.shutdown()


@pytest.fixture
def photo(tmp_path):
    (tmp_path / "a").mkdir()
    file = tmp_path / "a" / "one.jpg"
    file.write_bytes(b"picture")
    return file


@pytest.mark.parametrize("rate", [None, 200.0])
def test_it_sends_every_request_once_and_counts_the_answers_by_status(server, photo, rate):
    load = Load(server, [request_bytes(server, photo)], connections=4, total=40, rate=rate)
    tally = load.run()
    assert dict(tally.statuses) == {"200": 20, "503": 20}
    assert dict(tally.retry_after) == {"4": 20}
    assert Alternating.seen == [b"picture"] * 40
    assert len(tally.latencies[200]) == 20


def test_it_counts_a_server_that_is_not_there_instead_of_failing(photo):
    url = "http://127.0.0.1:9/predict"  # the discard port: nobody listens
    tally = Load(url, [request_bytes(url, photo)], connections=2, total=3, rate=None).run()
    assert dict(tally.statuses) == {"ConnectionRefusedError": 3}


def test_a_form_carries_the_photo_in_the_named_field(photo):
    assert b'name="image"; filename="photo.jpg"' in request_bytes("http://a/b", photo, field="image")


def test_photos_come_in_turn_from_every_subfolder(tmp_path):
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        for number in range(3):
            (tmp_path / label / f"{number}.jpg").write_bytes(b"")
    assert [file.parent.name for file in photos_below(tmp_path, 4)] == ["a", "b", "a", "b"]


def test_the_percentile_is_a_value_that_occurred():
    assert percentile([3, 1, 2], 0.5) == 2
    assert percentile(list(range(100)), 0.99) == 99
    assert json.dumps(percentile([7.0], 0.99)) == "7.0"
