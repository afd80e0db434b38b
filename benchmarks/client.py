"""A lean load client in a process of its own: keep-alive sockets, requests built beforehand, one thread, no library.

Closed loop (`--concurrency C`): C connections, each sends its next photo when its answer has come.
Open loop (`--rate R`): photos are sent at R per second whatever the answers do, as a crowd would; a request waits for
a free connection, and that wait counts into its latency.

    python -m benchmarks.client --url http://127.0.0.1:8000/api/predictImage --photos FOLDER --concurrency 16

It prints one JSON object: statuses, latencies in milliseconds, requests per second, and its own share of the processor.
"""

import argparse
import itertools
import json
import resource
import selectors
import socket
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

TYPES = {".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png", ".webp": "image/webp"}
ANSWER_TIMEOUT_SECONDS = 60.0


@dataclass
class Connection:
    """One keep-alive connection: at most one request in flight."""

    sock: socket.socket
    outgoing: memoryview = field(default_factory=lambda: memoryview(b""))
    incoming: bytearray = field(default_factory=bytearray)
    due: float = 0.0  # monotonic seconds: when the request was meant to be sent


@dataclass
class Tally:
    """What came back."""

    latencies: dict[int, list[float]] = field(default_factory=dict)  # seconds, by status
    statuses: Counter[str] = field(default_factory=Counter)
    retry_after: Counter[str] = field(default_factory=Counter)
    done: int = 0

    def add(self, status: str, seconds: float, retry_after: str | None = None) -> None:
        self.done += 1
        self.statuses[status] += 1
        if status.isdigit():
            self.latencies.setdefault(int(status), []).append(seconds)
        if retry_after is not None:
            self.retry_after[retry_after] += 1


def percentile(values: Sequence[float], share: float) -> float:
    """The nearest-rank percentile of `values` (not empty); `share` in 0..1."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def photos_below(folder: Path, most: int) -> list[Path]:
    """The first `most` photos below `folder` in an order that mixes its subfolders."""
    by_folder: dict[Path, list[Path]] = {}
    for file in sorted(folder.rglob("*")):
        if file.suffix.lower() in TYPES:
            by_folder.setdefault(file.parent, []).append(file)
    mixed = itertools.chain.from_iterable(itertools.zip_longest(*by_folder.values()))
    found = [file for file in mixed if file is not None][:most]
    if not found:
        raise SystemExit(f"No .jpg, .png or .webp file below {folder}.")
    return found


def request_bytes(url: str, photo: Path, *, field: str | None = None) -> bytes:
    """The whole HTTP/1.1 request that posts `photo`: as a raw body, or as the multipart field `field`."""
    parts = urlsplit(url)
    body, content_type = photo.read_bytes(), TYPES[photo.suffix.lower()]
    if field:
        disposition = f'Content-Disposition: form-data; name="{field}"; filename="photo{photo.suffix}"'
        part = f"--boundary\r\n{disposition}\r\nContent-Type: {content_type}\r\n\r\n"
        body, content_type = part.encode() + body + b"\r\n--boundary--\r\n", "multipart/form-data; boundary=boundary"
    head = (
        f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def answer(incoming: bytearray) -> tuple[str, str | None, bool] | None:
    """Status, Retry-After and "the server closes" of a complete answer, or None while it is incomplete."""
    end = incoming.find(b"\r\n\r\n")
    if end < 0:
        return None
    lines = incoming[:end].decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    if len(incoming) < end + 4 + int(headers.get("content-length", "0")):
        return None
    return lines[0].split(" ")[1], headers.get("retry-after"), headers.get("connection", "").lower() == "close"


class Load:
    """Sends `total` requests over `connections` connections and tallies the answers."""

    def __init__(
        self, url: str, requests: Sequence[bytes], *, connections: int, total: int, rate: float | None
    ) -> None:
        parts = urlsplit(url)
        self.address = (parts.hostname or "127.0.0.1", parts.port or 80)
        self.requests = itertools.cycle(requests)
        self.total, self.rate, self.most_connections = total, rate, connections
        self.selector = selectors.DefaultSelector()
        self.idle: list[Connection] = []
        self.busy: set[int] = set()
        self.waiting: deque[float] = deque()  # due times of open-loop requests without a connection
        self.opened = 0
        self.sent = 0
        self.tally = Tally()

    def open(self) -> Connection:
        sock = socket.create_connection(self.address, timeout=10)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setblocking(False)
        self.opened += 1
        return Connection(sock)

    def send(self, due: float) -> None:
        """Send the next photo over a free connection; there must be one or room for one."""
        self.sent += 1
        try:
            connection = self.idle.pop() if self.idle else self.open()
        except OSError as error:
            self.tally.add(type(error).__name__, time.monotonic() - due)
            return
        connection.due = due
        connection.outgoing = memoryview(next(self.requests))
        connection.incoming = bytearray()
        self.busy.add(connection.sock.fileno())
        self.selector.register(connection.sock, selectors.EVENT_READ | selectors.EVENT_WRITE, connection)
        self.write(connection)

    def write(self, connection: Connection) -> None:
        try:
            written = connection.sock.send(connection.outgoing)
        except BlockingIOError:
            return
        except OSError as error:
            self.finish(connection, type(error).__name__, None, closes=True)
            return
        connection.outgoing = connection.outgoing[written:]
        if not connection.outgoing:
            self.selector.modify(connection.sock, selectors.EVENT_READ, connection)

    def read(self, connection: Connection) -> None:
        try:
            received = connection.sock.recv(65536)
        except BlockingIOError:
            return
        except OSError as error:
            self.finish(connection, type(error).__name__, None, closes=True)
            return
        connection.incoming += received
        complete = answer(connection.incoming)
        if complete is not None:
            status, retry_after, closes = complete
            self.finish(connection, status, retry_after, closes=closes)
        elif not received:
            self.finish(connection, "closed early", None, closes=True)

    def finish(self, connection: Connection, status: str, retry_after: str | None, *, closes: bool) -> None:
        self.tally.add(status, time.monotonic() - connection.due, retry_after)
        self.selector.unregister(connection.sock)
        self.busy.discard(connection.sock.fileno())
        if closes:
            connection.sock.close()
            self.opened -= 1
        else:
            self.idle.append(connection)

    def run(self) -> Tally:
        start = time.monotonic()
        schedule = deque(start + number / self.rate for number in range(self.total)) if self.rate else deque()
        last_progress, progress = start, 0
        while self.tally.done < self.total:
            now = time.monotonic()
            if self.rate:
                while schedule and schedule[0] <= now:
                    self.waiting.append(schedule.popleft())
            elif self.sent < self.total:
                room = self.most_connections - len(self.busy)
                self.waiting.extend([now] * min(room - len(self.waiting), self.total - self.sent))
            while self.waiting and (self.idle or self.opened < self.most_connections):
                self.send(self.waiting.popleft())
            pause = max(0.0, min(0.05, schedule[0] - time.monotonic())) if schedule else 0.05
            for key, events in self.selector.select(pause):
                if events & selectors.EVENT_WRITE and key.data.outgoing:
                    self.write(key.data)
                if events & selectors.EVENT_READ and key.fd in self.busy:
                    self.read(key.data)
            if self.tally.done != progress:
                last_progress, progress = time.monotonic(), self.tally.done
            elif time.monotonic() - last_progress > ANSWER_TIMEOUT_SECONDS:
                self.tally.statuses["no answer"] += self.total - self.tally.done
                break
        return self.tally


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--url", required=True)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--requests", type=int, default=1000, help="how many requests in all")
    parser.add_argument("--different", type=int, default=240, help="how many different photos are sent in turn")
    parser.add_argument("--concurrency", type=int, default=1, help="connections; in the open loop the most of them")
    parser.add_argument("--field", help="post a multipart form with this field instead of a raw body")
    parser.add_argument("--rate", type=float, help="open loop: requests per second")
    options = parser.parse_args()
    photos = photos_below(options.photos, options.different)
    requests = [request_bytes(options.url, photo, field=options.field) for photo in photos]
    load = Load(options.url, requests, connections=options.concurrency, total=options.requests, rate=options.rate)
    cpu_before = time.process_time()
    start = time.monotonic()
    tally = load.run()
    wall_seconds = time.monotonic() - start
    report = {
        "requests": options.requests,
        "wall_seconds": wall_seconds,
        "per_second": tally.done / wall_seconds,
        "statuses": dict(tally.statuses),
        "retry_after": dict(tally.retry_after),
        "latency_ms": {
            status: {
                "n": len(values),
                **{
                    name: 1000 * percentile(values, share)
                    for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))
                },
                "max": 1000 * max(values),
            }
            for status, values in tally.latencies.items()
        },
        "client_cpu_share": (time.process_time() - cpu_before) / wall_seconds,  # of one core
        "client_peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
