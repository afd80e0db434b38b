"""What is refused before Django leaves a line in the log, and a crowd leaves few."""

import logging
import time

import pytest

from classifier import refusals
from classifier.logs import Line
from tests.live import FORM, Wire
from tests.test_server import HEAD


@pytest.fixture(autouse=True)
def no_crowd_of_before() -> None:
    """Those whom another test turned away are told before this one begins."""
    while refusals.crowd.count:
        time.sleep(0.01)


@pytest.fixture
def lines(caplog):
    """What was logged of refusals, as the log shows it."""

    def lines(count: int = 1) -> list[str]:
        end = time.monotonic() + 5  # the answer may arrive before the line
        while True:
            found = [Line().format(one) for one in caplog.records if one.name == "classifier.refusals"]
            if len(found) >= count or time.monotonic() > end:
                return [line.split(" ", 2)[2] for line in found]
            time.sleep(0.01)

    return lines


def test_a_large_body_is_noted_with_its_number(wire: Wire, lines):
    answer = wire.raw(HEAD + b"Content-Length: 2147483648\r\n\r\n")
    [line] = lines()
    number = answer.headers["X-Request-ID"]
    assert line.startswith(
        f"WARNING classifier.refusals [{number}] Content Too Large: /api/predictImage (exceeds max_body"
    )


def test_so_is_one_that_the_gate_refuses(wire: Wire, lines):
    answer = wire("POST", "/healthy/", bytes(2 * 1024**2 + 512 * 1024 + 1), content_type=FORM)
    [line] = lines()
    assert answer.status == 413 and "Content Too Large: /healthy/" in line


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (b"nonsense\r\n\r\n", "Bad Request: / (Start line is invalid)"),
        (
            b"GET /%0d%0a2026-11-20%20CRITICAL HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
            r"/\r\n2026-11-20 CRITICAL",
        ),
        (b"GET /\xc3\xbc\xff HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", "Bad Request: /"),
        (b"GET / HTTP/1.1\r\nCookie: se\rcret\r\n\r\n", "Bad Request: / (Bare CR or LF found in header line)"),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 40_000 + b"\r\n\r\n", "Request Header Fields Too Large: /"),
    ],
)
def test_what_cannot_be_read_is_noted_on_one_short_line(wire: Wire, lines, sent: bytes, said: str):
    assert wire.raw(sent).status in {400, 431}
    [line] = lines()
    assert line.startswith("WARNING ") and said in line
    assert "\n" not in line and "\r" not in line and "secret" not in line and line.isascii()


def test_a_long_path_is_cut(wire: Wire, lines):
    wire.raw(b"GET /" + b"y" * 20_000 + b" HTTP/1.1\r\nContent-Length: x\r\n\r\n")
    [line] = lines()
    assert len(line) < 400


def test_a_crowd_shares_a_line(lines, monkeypatch):
    monkeypatch.setattr(refusals, "TOGETHER_SECONDS", 0.2)
    for _ in range(500):
        refusals.noted(503, "/api/predictImage", "0" * 16)
    [line] = lines()
    assert line == (
        "ERROR classifier.refusals Service Unavailable: 500 photos turned away within a second, every place is taken"
    )
    refusals.noted(503, "/api/predictImage", "0" * 16)
    assert "Service Unavailable: 1 photo turned away" in lines(2)[1]


def test_a_full_house_is_noted(wire: Wire, lines, monkeypatch, picture):
    monkeypatch.setattr(refusals, "TOGETHER_SECONDS", 0.2)
    from breedsite.wsgi import application

    monkeypatch.setattr(application, "places", 0)
    monkeypatch.setattr(application, "inside", 1)
    assert wire.photo(picture).status == 503
    assert wire.photo(picture).status == 503
    assert "2 photos turned away" in " ".join(lines()) or len(lines(2)) == 2  # a slow machine takes two windows


@pytest.mark.parametrize(("status", "level"), [(400, "WARNING"), (413, "WARNING"), (500, "ERROR")])
def test_levels_are_those_of_django(lines, status: int, level: str, caplog):
    caplog.set_level(logging.INFO)
    refusals.noted(status, "/x", "ab12")
    assert lines()[0].startswith(f"{level} classifier.refusals [ab12] ")
