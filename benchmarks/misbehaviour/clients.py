"""Clients that hang up, drip and lie: what they cost the others, and what is left of them ten seconds later.

`aborts` senders hang up in the middle of the body and as many while their photo is looked at, `slow` connections
send a byte a second all the while, and each lie about the body is told `lies` times. Photos that are looked at for
nobody come at half the rate that the site can answer; more of them would measure an overload. Normal clients ask beside
them. Afterwards the process must have the open files of before, no temporary file, and every place for photos free.
"""

import contextlib
import http.client
import os
import socket
import statistics
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.client import photos_below
from benchmarks.ingest import family
from benchmarks.serve import load
from benchmarks.site import site

NOBODY = "closed"  # the connection ended without an answer
PATIENCE_SECONDS = 30.0  # for an answer
BACK_SECONDS = 10.0  # within which everything must be as before
HEAD = b"POST /api/predictImage HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\n"


def sized(length: object) -> bytes:
    return HEAD + f"Content-Length: {length}\r\n\r\n".encode()


@dataclass(frozen=True)
class Client:
    """One way to behave: what is sent, whether anybody listens for an answer, and which answers are right."""

    send: Callable[[bytes], bytes]  # of a photo
    answers: frozenset[str] = frozenset()
    listens: bool = True
    asks: bool = False  # sends `Expect: 100-continue` and waits for it before the body
    ends: bool = False  # says that nothing more comes, and listens on


def answers(*statuses: str) -> frozenset[str]:
    return frozenset(statuses)


CUT = Client(lambda photo: sized(len(photo)) + photo[: len(photo) // 2], listens=False)
GONE = Client(lambda photo: sized(len(photo)) + photo, listens=False)
LIES = {
    "no length": Client(lambda photo: HEAD + b"\r\n" + photo, answers("400", "411", "422")),
    "length too small": Client(lambda photo: sized(len(photo) // 2) + photo, answers("422")),
    "length too large": Client(lambda photo: sized(2 * len(photo)) + photo, answers(NOBODY), ends=True),
    "length below zero": Client(lambda photo: sized(-5) + photo, answers("400")),
    "length no number": Client(lambda photo: sized("12abc") + photo, answers("400")),
    "two lengths": Client(lambda photo: sized("5\r\nContent-Length: 7") + photo, answers("400")),
    "2 GB declared": Client(lambda photo: sized(2**31) + photo, answers("413")),
    "chunked": Client(lambda photo: chunked(photo) + b"0\r\n\r\n", answers("200")),
    "chunked, broken": Client(lambda photo: chunked(b"") + b"zz\r\n" + photo, answers("400")),
    "chunked, cut off": Client(lambda photo: chunked(photo), answers(NOBODY), ends=True),
    "expects, and sends": Client(lambda photo: expecting(len(photo)) + photo, answers("200"), asks=True),
    "expects, and goes": Client(lambda photo: expecting(len(photo)), asks=True, listens=False),
    "expects to send 2 GB": Client(lambda photo: expecting(2**31), answers("413")),
}


def chunked(photo: bytes) -> bytes:
    head = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
    return head + (f"{len(photo):x}\r\n".encode() + photo + b"\r\n" if photo else b"")


def expecting(length: int) -> bytes:
    return HEAD + f"Content-Length: {length}\r\nExpect: 100-continue\r\n\r\n".encode()


def behave(client: Client, port: int, photo: bytes) -> str:
    """Send what it sends; the status of the answer, NOBODY, or the name of what went wrong on the way."""
    sent = client.send(photo)
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS) as connection:
            if client.asks:
                head, _, sent = sent.partition(b"\r\n\r\n")
                connection.sendall(head + b"\r\n\r\n")
                said = connection.recv(100)
                if not said.startswith(b"HTTP/1.1 100 "):
                    return said[9:12].decode()
            connection.sendall(sent)
            if client.ends:
                connection.shutdown(socket.SHUT_WR)
            return status(connection) if client.listens else NOBODY
    except OSError as error:
        return type(error).__name__


def status(connection: socket.socket) -> str:
    response = http.client.HTTPResponse(connection)
    try:
        response.begin()
        response.read()
    except http.client.RemoteDisconnected:
        return NOBODY
    return str(response.status)


def crowd(client: Client, port: int, photo: bytes, *, count: int, rate: float, hands: int = 8) -> Counter[str]:
    """`count` of these clients, `rate` a second; what each got."""
    begin = time.monotonic()

    def one(number: int) -> str:
        time.sleep(max(0.0, begin + number / rate - time.monotonic()))
        return behave(client, port, photo)

    with ThreadPoolExecutor(hands) as pool:
        return Counter(pool.map(one, range(count)))


@contextlib.contextmanager
def dripping(port: int, count: int, *, every_seconds: float = 1.0) -> Iterator[None]:
    """So many connections, each of which has begun a header or a photo and sends a byte now and then."""
    connections = [socket.create_connection(("127.0.0.1", port)) for _ in range(count)]
    over = threading.Event()

    def drip() -> None:
        for number, connection in enumerate(connections):
            connection.sendall(HEAD if number % 2 else sized(1_000_000))
        while not over.wait(every_seconds):
            for connection in connections:
                with contextlib.suppress(OSError):  # it was left
                    connection.sendall(b"x")

    thread = threading.Thread(target=drip)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        for connection in connections:
            connection.close()


@dataclass
class Normal:
    """Those who behave: one asks again and again, on a new connection each time, a few times a second."""

    port: int
    photo: bytes
    every_seconds: float = 0.1
    got: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)

    def __enter__(self) -> "Normal":
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.ask)
        self.thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.over.set()
        self.thread.join()

    def ask(self) -> None:
        client = Client(lambda photo: sized(len(photo)) + photo)
        while not self.over.wait(self.every_seconds):
            begin = time.monotonic()
            self.got[behave(client, self.port, self.photo)] += 1
            self.seconds.append(time.monotonic() - begin)

    @property
    def share(self) -> float:
        """Of their requests that were answered with 200."""
        return self.got["200"] / max(1, self.got.total())


@dataclass(frozen=True)
class Report:
    """What the clients got, and those of them who got something that was not right."""

    got: dict[str, dict[str, int]]
    wrong: dict[str, dict[str, int]]
    normal: Normal


def of_others(got: Counter[str], right: Collection[str]) -> dict[str, int]:
    return {status: count for status, count in got.items() if status not in right}


def misbehave(port: int, photo: bytes, *, aborts: int, slow: int, lies: int, rate: float) -> Report:
    """All of it, one kind after the other, while others drip and one behaves."""
    clients = {"cut in the body": (CUT, aborts), "gone before the answer": (GONE, aborts)}
    clients |= {name: (client, lies) for name, client in LIES.items()}
    got: dict[str, Counter[str]] = {}
    with dripping(port, slow), Normal(port, photo) as normal:
        for name, (client, count) in clients.items():
            got[name] = crowd(client, port, photo, count=count, rate=rate)
    wrong = {name: of_others(got[name], client.answers or {NOBODY}) for name, (client, _) in clients.items()}
    return Report(
        {name: dict(counts) for name, counts in got.items()},
        {name: found for name, found in wrong.items() if found},
        normal,
    )


def open_files(process: int) -> int:
    """Of a process and its children."""
    return sum(len(list(Path(f"/proc/{one}/fd").iterdir())) for one in family(process))


def back_to(process: int, files: int) -> float:
    """Seconds until the process has no more open files than these; infinite where it takes longer than BACK_SECONDS."""
    begin = time.monotonic()
    while open_files(process) > files:
        if time.monotonic() - begin > BACK_SECONDS:
            return float("inf")
        time.sleep(0.05)
    return time.monotonic() - begin


def measure(version: Path, photos: Path, *, aborts: int, slow: int, lies: int) -> dict[str, Any]:
    file = photos_below(photos, 1)[0]
    load_before = os.getloadavg()[0]
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        site(version, file, settings={"TMPDIR": folder}) as running,
    ):
        port = int(running.url.rpartition(":")[2])
        before = load(running.predict_url, photos, concurrency=16, requests=300)
        time.sleep(1)
        files = open_files(running.pid)
        photo, rate = file.read_bytes(), before["per_second"] / 2
        report = misbehave(port, photo, aborts=aborts, slow=slow, lies=lies, rate=rate)
        seconds = back_to(running.pid, files)
        left = sorted(path.name for path in Path(folder).rglob("*"))
        after = load(running.predict_url, photos, concurrency=16, requests=300)
    normal = report.normal
    return {
        "answers": report.got,
        "wrong": report.wrong,
        "normal": {
            "n": normal.got.total(),
            "share_answered": normal.share,
            "others": of_others(normal.got, {"200"}),
            "p50_ms": 1000 * statistics.median(normal.seconds),
            "max_ms": 1000 * max(normal.seconds),
        },
        "open_files_before": files,
        "open_files_back_seconds": seconds,
        "temporary_files": left,
        "before_at_16": {name: before[name] for name in ("statuses", "latency_ms")},
        "afterwards_at_16": {name: after[name] for name in ("statuses", "latency_ms")},
        "load_of_the_machine": [load_before, os.getloadavg()[0]],
    }
