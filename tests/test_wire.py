"""What goes over the socket between web processes and the engine process, and what is not taken from it."""

import socket
import threading
from collections.abc import Iterator

import numpy as np
import pytest

from classifier.engines import wire
from classifier.engines.wire import HungUp, Kind, NotOurs, Outcome, Reply, Request

pytestmark = pytest.mark.alone

DIGEST = "ab" * 32
PIXELS = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), np.uint8)


@pytest.fixture
def line() -> Iterator[tuple[socket.socket, socket.socket]]:
    here, there = socket.socketpair()
    with here, there:
        yield here, there


def received(line: socket.socket) -> Request | None:
    return wire.receive_request(line, body_seconds=0.2)


def request(**changes: int | bytes) -> bytes:
    """The header of a request for one picture of 8 pixels."""
    parts = {"magic": wire.MAGIC, "kind": 1, "count": 1, "side": 8, "digest": bytes(32), "length": 192} | changes
    return wire.REQUEST.pack(*parts.values())


def test_pictures_come_out_as_they_went_in(line):
    here, there = line
    threading.Thread(target=wire.send_request, args=(here, wire.asking(DIGEST, PIXELS))).start()
    found = received(there)
    assert (found.kind, found.digest) == (Kind.ASK, DIGEST)
    np.testing.assert_array_equal(found.pixels, PIXELS)


def test_logits_come_out_as_they_went_in(line):
    here, there = line
    logits = np.random.default_rng(0).normal(size=(3, 7)).astype(np.float32)
    wire.send_reply(here, wire.answering(logits, "cuda:0", together=12))
    found = wire.receive_reply(there)
    assert (found.outcome, found.device, found.together) == (Outcome.READY, "cuda:0", 12)
    np.testing.assert_array_equal(found.logits, logits)


def test_a_folder_and_a_sentence_come_out_as_they_went_in(line):
    here, there = line
    wire.send_request(here, Request(Kind.LOAD, DIGEST, "/a/fö".encode()))
    assert received(there).folder == "/a/fö"
    wire.send_reply(here, Reply(Outcome.CANNOT, body=b"it does not fit"))
    assert wire.receive_reply(there).sentence == "it does not fit"


def test_the_end_between_two_requests_is_no_mistake(line):
    here, there = line
    here.close()
    assert received(there) is None


@pytest.mark.parametrize(
    "sent",
    [
        request(magic=b"HTTP"),
        request(kind=0),
        request(kind=3),
        request(count=0),
        request(count=65, length=65 * 192),
        request(side=0, length=0),
        request(side=2049, length=2049 * 2049 * 3),
        request(length=191),
        request(count=64, side=2048, length=64 * 2048 * 2048 * 3),
        request(kind=2, length=0),
        request(kind=2, length=4097),
        b"\x80\x04\x95" + bytes(100),  # how a pickle begins
    ],
)
def test_what_is_no_request_is_refused_before_its_body_is_read(line, sent):
    here, there = line
    here.sendall(sent)
    with pytest.raises(NotOurs):
        received(there)


def test_a_body_that_does_not_come_is_not_waited_for(line):
    here, there = line
    here.sendall(request() + bytes(191))
    with pytest.raises(TimeoutError):
        received(there)


def test_who_hangs_up_in_the_middle_is_told_from_who_ends(line):
    here, there = line
    here.sendall(request() + bytes(100))
    here.close()
    with pytest.raises(HungUp):
        received(there)


@pytest.mark.parametrize(
    "sent",
    [
        wire.REPLY.pack(b"HTTP", 0, 1, 1, 5, b"cpu", 20),
        wire.REPLY.pack(wire.MAGIC, 9, 1, 1, 5, b"cpu", 20),
        wire.REPLY.pack(wire.MAGIC, 0, 1, 1, 5, b"cpu", 24),
        wire.REPLY.pack(wire.MAGIC, 2, 0, 0, 0, b"", 2**31),
    ],
)
def test_what_is_no_reply_is_refused(line, sent):
    here, there = line
    here.sendall(sent)
    with pytest.raises(NotOurs):
        wire.receive_reply(there)
