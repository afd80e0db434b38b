"""What web processes and the engine process say to each other over a unix socket: a fixed header, then raw bytes.

Nothing that comes is executed or unpickled, and each size is bounded before anything of it is read.
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

MAGIC = b"brd1"  # another form gets another number
REQUEST = struct.Struct("<4sBHH32sI")  # MAGIC, kind, pictures, their side in pixels, digest of the version, body bytes
REPLY = struct.Struct(
    "<4sBHHI16sI"
)  # MAGIC, outcome, rows, pictures in the pass, labels, the device's name, body bytes
MOST_PICTURES = 64  # in one request
LARGEST_SIDE = 2048  # as `Preprocessing` allows
MAX_REQUEST_BYTES = 64 * 1024**2
MAX_REPLY_BYTES = 64 * 1024**2
MAX_PATH_BYTES = 4096


class Kind(IntEnum):
    ASK = 1  # the body is uint8 (B, side, side, 3)
    LOAD = 2  # the body is the version's folder, in UTF-8


class Outcome(IntEnum):
    READY = 0  # the body is float32 (rows, labels), which are logits; empty where a version was to be loaded
    LOADING = 1  # the version is not there, or not yet
    CANNOT = 2  # the body is a sentence


class NotOurs(Exception):
    """The other side does not speak this language."""


class HungUp(ConnectionError):
    """The other side ended in the middle."""


@dataclass(frozen=True)
class Request:
    kind: Kind
    digest: str  # sha256 in hexadecimal digits
    body: bytes | bytearray | memoryview
    count: int = 0  # pictures
    side: int = 0  # pixels

    @property
    def pixels(self) -> np.ndarray:
        """uint8 (B, side, side, 3)"""
        return np.frombuffer(self.body, np.uint8).reshape(self.count, self.side, self.side, 3)

    @property
    def folder(self) -> str:
        """Raises UnicodeDecodeError."""
        return bytes(self.body).decode()


@dataclass(frozen=True)
class Reply:
    outcome: Outcome
    device: str = ""
    body: bytes | bytearray | memoryview = b""
    rows: int = 0
    labels: int = 0
    together: int = 0  # pictures that had the same pass

    @property
    def logits(self) -> np.ndarray:
        """float32 (rows, labels)"""
        return np.frombuffer(self.body, np.float32).reshape(self.rows, self.labels)

    @property
    def sentence(self) -> str:
        return bytes(self.body).decode(errors="replace")


def asking(digest: str, pixels: np.ndarray) -> Request:
    """pixels uint8 (B, side, side, 3), B from 1 to MOST_PICTURES"""
    count, side = pixels.shape[:2]
    assert pixels.dtype == np.uint8 and pixels.shape == (count, side, side, 3) and 1 <= count <= MOST_PICTURES
    return Request(Kind.ASK, digest, np.ascontiguousarray(pixels).data.cast("B"), count, side)


def answering(logits: np.ndarray, device: str, *, together: int) -> Reply:
    """logits (B, K)"""
    rows, labels = logits.shape
    body = np.ascontiguousarray(logits, np.float32).data.cast("B")
    return Reply(Outcome.READY, device, body, rows, labels, together)


def send_request(line: socket.socket, request: Request) -> None:
    digest = bytes.fromhex(request.digest)
    header = REQUEST.pack(MAGIC, request.kind, request.count, request.side, digest, len(request.body))
    line.sendall(b"".join((header, request.body)))  # in one piece: two would wake the other side twice


def receive_request(line: socket.socket, *, body_seconds: float) -> Request | None:
    """The next request, however long it takes to come; None where the other side has ended. Raises NotOurs, OSError:
    also where its body takes longer than that."""
    line.settimeout(None)
    header = bytearray(REQUEST.size)
    if not (begun := line.recv_into(header)):
        return None
    line.settimeout(body_seconds)
    fill(line, memoryview(header)[begun:])
    magic, kind, count, side, digest, length = REQUEST.unpack(header)
    if magic != MAGIC or kind not in tuple(Kind):
        raise NotOurs("this is no request")
    if kind == Kind.ASK:
        sound = 1 <= count <= MOST_PICTURES and 1 <= side <= LARGEST_SIDE and length == count * side * side * 3
        if not sound or length > MAX_REQUEST_BYTES:
            raise NotOurs(f"{length} bytes are no {count} pictures of {side} pixels")
    elif not 1 <= length <= MAX_PATH_BYTES:
        raise NotOurs(f"a path has no {length} bytes")
    return Request(Kind(kind), digest.hex(), received(line, length), count, side)


def send_reply(line: socket.socket, reply: Reply) -> None:
    shape, name = (reply.rows, reply.together, reply.labels), reply.device.encode()[:16]
    header = REPLY.pack(MAGIC, reply.outcome, *shape, name, len(reply.body))
    line.sendall(b"".join((header, reply.body)))


def receive_reply(line: socket.socket) -> Reply:
    """Raises NotOurs, OSError."""
    magic, outcome, rows, together, labels, device, length = REPLY.unpack(received(line, REPLY.size))
    if magic != MAGIC or outcome not in tuple(Outcome) or length > MAX_REPLY_BYTES:
        raise NotOurs("this is no reply")
    if outcome == Outcome.READY and length != 4 * rows * labels:
        raise NotOurs(f"{length} bytes are no {rows} rows of {labels} logits")
    name = device.rstrip(b"\0").decode(errors="replace")
    return Reply(Outcome(outcome), name, received(line, length), rows, labels, together)


def received(line: socket.socket, count: int) -> bytearray:
    """Exactly so many bytes. Raises OSError."""
    data = bytearray(count)
    fill(line, memoryview(data))
    return data


def fill(line: socket.socket, room: memoryview) -> None:
    while len(room):
        if not (came := line.recv_into(room)):
            raise HungUp("the other side has hung up in the middle")
        room = room[came:]
