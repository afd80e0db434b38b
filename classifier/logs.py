"""Log lines: one form for every process, what request and what job they belong to, no secret, and nothing that a client
wrote which could begin a line of its own or colour it.

2026-11-20 09:39:02 WARNING django.request [9f2c…] Not Found: /nothing

or, with LOG_FORMAT=json, an object a line with `time`, `level`, `logger`, `message` and, where they are known,
`request_id`, `status`, `method`, `route`, `run_id` (`dataset_id` …) and `traceback`. Plain Python.
"""

import json
import logging
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar, Token
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

SECRETS = (
    re.compile(r"(?P<before>://[^/\s:@]*:)[^/\s@]+(?=@)"),  # the password of a URL
    re.compile(r"(?P<before>breedsite_[0-9a-f]{8}_)[\w\\-]+"),  # of a key: its beginning says which one it is
    re.compile(r"(?P<before>\bBearer\s+)[^\s,;\"']{8,}", re.IGNORECASE),
    re.compile(
        r"(?P<before>\b(?:password|passwd|secret|token|sessionid|csrftoken|csrfmiddlewaretoken|api_?key)=)[^\s&;,\"']+",
        re.IGNORECASE,
    ),
)
# Controls of old terminals and new ones, separators of lines, marks that turn the direction of writing or cannot be
# seen, halves of characters.
UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e0fff]"
)
MESSAGE_BYTES = 3000  # longer ones are cut: an object must fit one line of the launcher
TRACEBACK_BYTES = 4500  # of an object: the last ones
METHOD_LENGTH = 16
_about: ContextVar[dict[str, object] | None] = ContextVar("about", default=None)


@contextmanager
def about(**ids: object) -> Iterator[None]:
    """What is logged within the block belongs to `run_id=7`."""
    before = belongs_to(**ids)
    try:
        yield
    finally:
        _about.reset(before)


def belongs_to(**ids: object) -> Token[dict[str, object] | None]:
    """So does what is logged from here on."""
    return _about.set((_about.get() or {}) | ids)


def mask(text: str) -> str:
    """`redis://user:secret@host` without the secret, and the like."""
    for secret in SECRETS:
        text = secret.sub(r"\g<before>***", text)
    return text


def plain(text: str) -> str:
    """On one line, seen as it is, without secrets: masked last, or a character in the middle would hide one."""
    return mask(UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text))


def cut(text: str, most: int) -> str:
    """Its first bytes."""
    data = text.encode()
    return text if len(data) <= most else data[:most].decode(errors="ignore") + "…"


def status_of(record: logging.LogRecord) -> int | None:
    """Of the answer that a record tells of; Django gives it to records about requests."""
    status = getattr(record, "status_code", None)
    return status if isinstance(status, int) else None


def number_of(record: logging.LogRecord) -> str:
    """The request's; empty where there is none."""
    meta = getattr(getattr(record, "request", None), "META", {})
    return str(getattr(record, "number", None) or meta.get("breedsite.request_id") or "")


def traceback_of(record: logging.LogRecord) -> list[str]:
    """Its lines. None for a refusal: anybody can ask with a wrong Host, and that is no mistake of ours."""
    error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
    if error is None or record.name.startswith("django.security.") or 400 <= (status_of(record) or 0) < 500:
        return []
    return [plain(line) for line in "".join(traceback.format_exception(error)).rstrip("\n").split("\n")]


def last(lines: list[str], most: int) -> str:
    """The last of them that have so many bytes together."""
    data = "\n".join(lines).encode()
    return "\n".join(lines) if len(data) <= most else "…" + data[-most:].decode(errors="ignore")


class Line(logging.Formatter):
    """For people. What follows the first line is a traceback, and indented: no line of ours begins so."""

    def __init__(self) -> None:
        super().__init__(datefmt="%Y-%m-%d %H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        number = f" [{plain(found)}]" if (found := number_of(record)) else ""
        begin = f"{self.formatTime(record, self.datefmt)} {record.levelname} {record.name}{number}"
        message = cut(plain(record.getMessage()), MESSAGE_BYTES)
        return "\n    ".join([f"{begin} {message}", *traceback_of(record)])


class Json(logging.Formatter):
    """For programs: one object a line."""

    def format(self, record: logging.LogRecord) -> str:
        found: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": cut(plain(record.getMessage()), MESSAGE_BYTES),
            "request_id": plain(number_of(record)),
            "status": status_of(record),
            **request_of(record),
            **(_about.get() or {}),
            **jobs_of(record),
            "traceback": last(traceback_of(record), TRACEBACK_BYTES),
        }
        return json.dumps({name: value for name, value in found.items() if value not in ("", None)}, ensure_ascii=False)


def request_of(record: logging.LogRecord) -> dict[str, object]:
    """Method and route, as Django's request knows them or as they were given with the record."""
    request = getattr(record, "request", None)
    method = getattr(request, "method", None) or getattr(record, "method", None) or ""
    match = getattr(request, "resolver_match", None)
    route = f"/{match.route.rstrip('/')}" if match else getattr(record, "route", "")
    return {"method": plain(str(method))[:METHOD_LENGTH], "route": plain(str(route))}


def jobs_of(record: logging.LogRecord) -> dict[str, Any]:
    """The ids of the jobs that a record names, such as run_id."""
    args = record.args if isinstance(record.args, tuple) else ()
    found: dict[str, Any] = {}
    for one in args:
        found |= getattr(one, "log_ids", None) or {}
    return found


FORMATS = {"line": Line, "json": Json}


def to_stderr(form: str) -> None:
    """For a process that Django does not set up: everything it says, its last words too, in the form of that name."""

    def last_words(_kind: type[BaseException], error: BaseException, _trace: TracebackType | None) -> None:
        logging.getLogger("python").critical("The process ends with an error.", exc_info=error)

    handler = logging.StreamHandler()
    handler.setFormatter(FORMATS.get(form, Line)())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.captureWarnings(True)
    sys.excepthook = last_words
