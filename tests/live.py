"""The real server within the test's process: what goes over the wire, byte by byte. A pytest plugin (`-p tests.live`).

Anonymous predictions need no database, so a test's own active version answers through it.
"""

import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

BOUNDARY = "a-boundary-of-the-tests"


@dataclass(frozen=True)
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        return self.json["code"]


def part(name: str, data: bytes, *, file: str | None = "dog.jpg", headers: str = "") -> bytes:
    """One part of a form; `file=None` makes it a plain field."""
    named = "" if file is None else f'; filename="{file}"'
    head = f'Content-Disposition: form-data; name="{name}"{named}\r\n{headers}\r\n'
    return f"--{BOUNDARY}\r\n".encode() + head.encode("utf-8", "surrogateescape") + data + b"\r\n"


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


FORM = f"multipart/form-data; boundary={BOUNDARY}"


class Wire:
    """A client of the server on `port`."""

    def __init__(self, port: int, busy: Callable[[], int] = lambda: 0) -> None:
        self.port = port
        self.busy = busy  # how many threads of the server are at work

    def rest(self) -> None:
        """Until its threads are: one that closes its database connection after the answer would else do so in the next
        test, which may not touch a database, and keep it open for ever."""
        end = time.monotonic() + 5
        while self.busy() and time.monotonic() < end:
            time.sleep(0.001)

    def __call__(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        """Header names are written with underscores: content_type="image/jpeg"."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        response = connection.getresponse()
        answer = Answer(response.status, response.headers, response.read())
        connection.close()
        return answer

    def photo(self, data: bytes, path: str = "/api/predictImage", **headers: str) -> Answer:
        return self("POST", path, data, **{"content_type": "image/jpeg", **headers})

    def form(self, *parts: bytes, path: str = "/api/predictImage", **headers: str) -> Answer:
        return self("POST", path, form(*parts), **{"content_type": FORM, **headers})

    def json(self, value: object, path: str = "/api/predictImage") -> Answer:
        return self("POST", path, json.dumps(value).encode(), content_type="application/json")

    def raw(self, *pieces: bytes, half_close: bool = False) -> Answer:
        """Sends the bytes as they are and reads one answer."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
            for piece in pieces:
                connection.sendall(piece)
            if half_close:
                connection.shutdown(socket.SHUT_WR)
            response = http.client.HTTPResponse(connection)
            response.begin()
            return Answer(response.status, response.headers, response.read())


@pytest.fixture(scope="session")
def wire() -> Iterator[Wire]:
    """The site behind its gate and its server, on a port of its own."""
    from breedsite.listener import Server, bound
    from breedsite.wsgi import application

    server = Server(application, sockets=bound("127.0.0.1", 0), threads=16)
    thread = threading.Thread(target=server.run)
    thread.start()
    yield Wire(server.addresses[0][1], lambda: server.dispatcher.active_count)
    server.stop()
    thread.join(20)
    assert not thread.is_alive()
