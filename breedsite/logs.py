"""Log lines: one shape, the request's number where there is one, and no password of a URL."""

import copy
import logging
import re

PASSWORD = re.compile(r"(?P<before>://[^/\s:@]*:)[^/\s@]+(?=@)")


def mask(text: str) -> str:
    """`redis://user:secret@host` without the secret."""
    return PASSWORD.sub(r"\g<before>***", text)


class Line(logging.Formatter):
    """`2026-11-20 09:39:02 WARNING django.request [9f2c…] Not Found: /nothing`; tracebacks are masked too."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s%(request_id)s %(message)s", "%Y-%m-%d %H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        request = getattr(record, "request", None)
        number = getattr(record, "number", None) or getattr(request, "META", {}).get("breedsite.request_id")
        record.request_id = f" [{number}]" if number else ""
        if record.name.startswith("django.security."):
            # Anybody can ask with a wrong Host: that is worth a line, and no traceback of Django's own check.
            record = copy.copy(record)
            record.exc_info = record.exc_text = None
        return mask(super().format(record))
