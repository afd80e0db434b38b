"""A line in the log for what is refused before Django, which tells of its own refusals by itself.

WARNING classifier.refusals [9f2c…] Content Too Large: /api/predictImage
ERROR classifier.refusals Service Unavailable: 312 photos turned away within a second, every place is taken
"""

import logging
import threading
from http import HTTPStatus

log = logging.getLogger(__name__)

LONGEST = 200  # characters of what a client wrote
TOGETHER_SECONDS = 1.0  # those whom a full house turns away in this time share one line


def noted(
    status: int, path: str, request_id: str, reason: str = "", *, method: str | None = None, route: str = ""
) -> None:
    """Log one refusal, at the level that Django gives its status. A full house is counted, and told once a second."""
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        crowd.add()
        return
    level = logging.ERROR if status >= HTTPStatus.INTERNAL_SERVER_ERROR else logging.WARNING
    because = f" ({plain(reason)})" if (reason := reason.partition('"')[0].strip()) else ""  # quoted: a client's header
    known = {"number": request_id, "status_code": status, "method": method, "route": route}
    log.log(level, "%s: %s%s", phrase(status), plain(path), because, extra=known)


def phrase(status: int) -> str:
    return "Content Too Large" if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE else HTTPStatus(status).phrase


def plain(text: str) -> str:
    """What a client wrote, on one line: no line break of it may begin a line of ours."""
    return text[:LONGEST].encode("unicode_escape").decode("ascii")


class Crowd:
    """Counts, and says after a second how many there were."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.count = 0

    def add(self) -> None:
        with self.lock:
            self.count += 1
            first = self.count == 1
        if first:
            timer = threading.Timer(TOGETHER_SECONDS, self.tell)
            timer.daemon = True
            timer.start()

    def tell(self) -> None:
        with self.lock:
            count, self.count = self.count, 0
        photos = "1 photo" if count == 1 else f"{count} photos"
        log.error(
            "%s: %s turned away within a second, every place is taken", phrase(503), photos, extra={"status_code": 503}
        )


crowd = Crowd()
