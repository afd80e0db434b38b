"""The outermost layer: what is answered before Django is asked. Plain WSGI.

Each request gets its number here. `/healthz` is answered at once, whatever else is down or busy. A body larger than its
path allows is refused by its header. And no more predictions come in than there are places: the rest hear "try again"
within a millisecond, instead of waiting in a line that nobody bounded.
"""

import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from threading import Lock
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol

from classifier.problems import PROBLEMS, document, written
from classifier.refusals import noted

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

Header = tuple[str, str]
PREDICT_PATHS = frozenset({"/", "/api/predictImage", "/api/predictImage/"})
BATCH_PATHS = re.compile(r"/batches/|/api/batches(/[0-9]+/(files|archive))?")  # where photos for batches are sent
OTHER_BODY_BYTES = 2 * 1024**2 + 512 * 1024  # Django's own limit for forms
BYTES_A_PLACE = 4 * 1024**2  # of body, on average: one of 14 MB in base64 takes 35 MB of memory until it is answered
OTHER = "other"  # the route of what has none, or was refused before one was looked for
ROUTES = {path: path.rstrip("/") or "/" for path in (*PREDICT_PATHS, "/healthz", "/api/batches", "/batches/")}
REASONS = {400: "Bad Request", 413: "Content Too Large", 503: "Service Unavailable"}


def brings_photos(method: str, path: str) -> bool:
    """Whether a request may be as large as a photo, and takes a place until it is answered."""
    return (method == "POST" and path in PREDICT_PATHS) or (
        method in {"POST", "PUT"} and BATCH_PATHS.fullmatch(path) is not None
    )


@dataclass(frozen=True)
class BodyLimits:
    """The largest body, in bytes, that is read for a path."""

    predict: int  # what a photo takes in base64, or in a form
    other: int = OTHER_BODY_BYTES

    def of(self, path: str) -> int:
        if path in PREDICT_PATHS:
            return self.predict
        return max(self.predict, self.other) if BATCH_PATHS.fullmatch(path) else self.other

    def refusal(self, path: str, request_id: str) -> dict[str, object]:
        limit = self.of(path)
        return document(
            "file_too_large",
            f"This request is too large: at most {limit / 1024**2:g} MB are accepted here.",
            request_id=request_id,
            limit_bytes=limit,
            about_the_picture=path in PREDICT_PATHS,
        )


@dataclass(frozen=True)
class Headers:
    """What Django's answers carry beside their content, for those that are given without it."""

    rules: tuple[Header, ...] = ()  # for browsers, on every answer
    origins: frozenset[str] = frozenset()  # of other sites, whose pages may read the API's answers
    exposed: tuple[str, ...] = ()  # the names of headers that those pages may read

    def of(self, number: str, *, path: str, origin: str) -> list[Header]:
        found = [("Cache-Control", "no-store"), ("X-Request-ID", number), *self.rules]
        if path.startswith("/api/"):
            found.append(("Vary", "origin"))
            if origin in self.origins:
                found.append(("Access-Control-Allow-Origin", origin))
                found.append(("Access-Control-Expose-Headers", ", ".join(self.exposed)))
        return found


class Tally(Protocol):
    """Who counts what was answered, and who is inside; `breedsite.tally` does."""

    def answered(self, route: str, status: int, code: str, seconds: float) -> None:
        """`code` is that of a refusal, empty where there is none."""

    def change(self, gauge: str, by: int) -> None:
        """One more or one less of `in_flight` or `places_taken`."""


class Uncounted:
    """Nobody wants to know."""

    def answered(self, route: str, status: int, code: str, seconds: float) -> None:
        pass

    def change(self, gauge: str, by: int) -> None:
        pass


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

    def __init__(
        self,
        application: "WSGIApplication",
        *,
        places: int,
        limits: BodyLimits,
        headers: Headers = Headers(),
        tally: Tally | None = None,
    ) -> None:
        self.application = application
        self.tally = tally or Uncounted()
        self.places = places
        self.limits = limits
        self.headers = headers
        self.inside = 0
        self.bytes_inside = 0
        self.lock = Lock()

    def full(self, path: str, length: int) -> bool:
        """Whether a POST of `length` bytes to this path would be turned away now."""
        return brings_photos("POST", path) and not self._fits(length)

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
        self.tally.change("places_taken", 1)
        return True

    def leave(self, length: int = 0) -> None:
        with self.lock:
            self.inside -= 1
            self.bytes_inside -= length
        self.tally.change("places_taken", -1)

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Every answer is counted before a byte of it leaves."""
        began = perf_counter()

        def counted(status: str, headers: list[Header], *error: Any) -> Any:
            path, code = environ.get("PATH_INFO", ""), environ.get("breedsite.problem", "")
            route = environ.get("breedsite.route") or ROUTES.get(path, OTHER)
            self.tally.answered(route, int(status[:3]), code, perf_counter() - began)
            return start_response(status, headers, *error)

        self.tally.change("in_flight", 1)
        try:
            return self._answered(environ, counted)
        finally:
            self.tally.change("in_flight", -1)

    def _answered(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        number = environ["breedsite.request_id"] = request_id()
        path, method = environ.get("PATH_INFO", ""), environ["REQUEST_METHOD"]
        if path == "/healthz":
            content = self._answer(environ, start_response, "200 OK", "application/json", b'{"status": "ok"}')
            return [] if method == "HEAD" else content
        stated = environ.get("CONTENT_LENGTH") or "0"
        if not (stated.isascii() and stated.isdigit()):
            problem = document("malformed_request", "The Content-Length is not a number.", request_id=number)
            return self._refuse(environ, start_response, problem)
        length = int(stated[:20])
        if length > self.limits.of(path):
            return self._refuse(environ, start_response, self.limits.refusal(path, number))
        if not brings_photos(method, path):
            return self.application(environ, start_response)
        if not self.enter(length):
            drain(environ, length)
            wait = ("Retry-After", str(retry_after_seconds()))
            return self._refuse(environ, start_response, overloaded(number), wait)
        try:
            return self.application(environ, start_response)  # Django has done the work when it returns
        finally:
            self.leave(length)

    def _refuse(
        self,
        environ: "WSGIEnvironment",
        start_response: "StartResponse",
        problem: dict[str, object],
        *headers: Header,
    ) -> list[bytes]:
        status, path = PROBLEMS[str(problem["code"])][0], environ.get("PATH_INFO", "")
        environ["breedsite.problem"] = problem["code"]
        known = {"method": environ["REQUEST_METHOD"], "route": ROUTES.get(path, OTHER)}
        noted(status, path, environ["breedsite.request_id"], **known)
        media_type, content = written(problem, path=path, accept=environ.get("HTTP_ACCEPT", ""))
        return self._answer(environ, start_response, f"{status} {REASONS[status]}", media_type, content, *headers)

    def _answer(
        self,
        environ: "WSGIEnvironment",
        start_response: "StartResponse",
        status: str,
        media_type: str,
        content: bytes,
        *headers: Header,
    ) -> list[bytes]:
        number, path, origin = (environ.get(name, "") for name in ("breedsite.request_id", "PATH_INFO", "HTTP_ORIGIN"))
        start_response(
            status,
            [
                ("Content-Type", media_type),
                ("Content-Length", str(len(content))),
                *self.headers.of(number, path=path, origin=origin),
                *headers,
            ],
        )
        return [content]


def drain(environ: "WSGIEnvironment", length: int) -> None:
    """Read the body away: closing a connection on unread bytes resets it, and the answer is lost on the way."""
    body = environ["wsgi.input"]
    while length > 0 and (chunk := body.read(min(length, 1024**2))):
        length -= len(chunk)
