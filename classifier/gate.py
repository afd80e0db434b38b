"""The outermost layer: what is answered before Django is asked. Plain WSGI.

Each request gets its number here. `/healthz` is answered at once, whatever else is down or busy. A body larger than its
path allows is refused by its header. And no more predictions come in than there are places: the rest hear "try again"
within a millisecond, instead of waiting in a line that nobody bounded.
"""

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING

from classifier.problems import PROBLEMS, document, written
from classifier.refusals import noted

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

PREDICT_PATHS = frozenset({"/", "/api/predictImage", "/api/predictImage/"})
OTHER_BODY_BYTES = 2 * 1024**2 + 512 * 1024  # Django's own limit for forms
BYTES_A_PLACE = 4 * 1024**2  # of body, on average: one of 14 MB in base64 takes 35 MB of memory until it is answered
REASONS = {400: "Bad Request", 413: "Content Too Large", 503: "Service Unavailable"}


@dataclass(frozen=True)
class BodyLimits:
    """The largest body, in bytes, that is read for a path."""

    predict: int  # what a photo takes in base64, or in a form
    other: int = OTHER_BODY_BYTES

    def of(self, path: str) -> int:
        return self.predict if path in PREDICT_PATHS else self.other

    def refusal(self, path: str, request_id: str) -> dict[str, object]:
        limit = self.of(path)
        return document(
            "file_too_large",
            f"This request is too large: at most {limit / 1024**2:g} MB are accepted here.",
            request_id=request_id,
            limit_bytes=limit,
            about_the_picture=path in PREDICT_PATHS,
        )


def overloaded(request_id: str) -> dict[str, object]:
    return document("overloaded", "Too many photos at once: try again in a moment.", request_id=request_id)


def retry_after_seconds() -> int:
    """3 to 7, so that those refused together do not come back together."""
    return 3 + secrets.randbelow(5)


def request_id() -> str:
    return secrets.token_hex(8)


class Gate:
    """WSGI application around `application`; at most `places` predictions are inside at a time.

    Fewer where their bodies are large: together they have at most BYTES_A_PLACE for each place, but one always fits.
    """

    def __init__(self, application: "WSGIApplication", *, places: int, limits: BodyLimits) -> None:
        self.application = application
        self.places = places
        self.limits = limits
        self.inside = 0
        self.bytes_inside = 0
        self.lock = Lock()

    def full(self, path: str, length: int) -> bool:
        """Whether a POST of `length` bytes to this path would be turned away now."""
        return path in PREDICT_PATHS and not self._fits(length)

    def _fits(self, length: int) -> bool:
        if self.inside == 0:
            return True
        return self.inside < self.places and self.bytes_inside + length <= self.places * BYTES_A_PLACE

    def enter(self, length: int = 0) -> bool:
        with self.lock:
            if not self._fits(length):
                return False
            self.inside += 1
            self.bytes_inside += length
            return True

    def leave(self, length: int = 0) -> None:
        with self.lock:
            self.inside -= 1
            self.bytes_inside -= length

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        number = environ["breedsite.request_id"] = request_id()
        path, method = environ.get("PATH_INFO", ""), environ["REQUEST_METHOD"]
        if path == "/healthz":
            return answer(start_response, "200 OK", b'{"status": "ok"}', number, head=method == "HEAD")
        stated = environ.get("CONTENT_LENGTH") or "0"
        if not (stated.isascii() and stated.isdigit()):
            problem = document("malformed_request", "The Content-Length is not a number.", request_id=number)
            return refuse(environ, start_response, problem, number)
        length = int(stated[:20])
        if length > self.limits.of(path):
            return refuse(environ, start_response, self.limits.refusal(path, number), number)
        if method != "POST" or path not in PREDICT_PATHS:
            return self.application(environ, start_response)
        if not self.enter(length):
            drain(environ, length)
            return refuse(
                environ, start_response, overloaded(number), number, ("Retry-After", str(retry_after_seconds()))
            )
        try:
            return self.application(environ, start_response)  # Django has done the work when it returns
        finally:
            self.leave(length)


def drain(environ: "WSGIEnvironment", length: int) -> None:
    """Read the body away: closing a connection on unread bytes resets it, and the answer is lost on the way."""
    body = environ["wsgi.input"]
    while length > 0 and (chunk := body.read(min(length, 1024**2))):
        length -= len(chunk)


def refuse(
    environ: "WSGIEnvironment",
    start_response: "StartResponse",
    problem: dict[str, object],
    number: str,
    *headers: tuple[str, str],
) -> list[bytes]:
    status = PROBLEMS[str(problem["code"])][0]
    noted(status, environ.get("PATH_INFO", ""), number)
    media_type, content = written(problem, path=environ.get("PATH_INFO", ""), accept=environ.get("HTTP_ACCEPT", ""))
    return answer(start_response, f"{status} {REASONS[status]}", content, number, *headers, media_type=media_type)


def answer(
    start_response: "StartResponse",
    status: str,
    content: bytes,
    number: str,
    *headers: tuple[str, str],
    media_type: str = "application/json",
    head: bool = False,
) -> list[bytes]:
    start_response(
        status,
        [
            ("Content-Type", media_type),
            ("Content-Length", str(len(content))),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
            ("X-Request-ID", number),
            *headers,
        ],
    )
    return [] if head else [content]
