"""Every way to say no: code -> (HTTP status, title), and the exception that carries one."""

from __future__ import annotations

import html
import json

PROBLEMS: dict[str, tuple[int, str]] = {
    # the request
    "malformed_request": (400, "The request could not be read"),
    "missing_image": (400, "No picture in the request"),
    "too_many_files": (400, "More than one file in the request"),
    "auth_required": (401, "Sign in first"),
    "key_refused": (401, "Key not accepted"),
    "forbidden": (403, "Not allowed"),
    "csrf_failed": (403, "The form has expired"),
    "not_found": (404, "Not found"),
    "method_not_allowed": (405, "Method not allowed"),
    "request_in_progress": (409, "Still being answered"),
    "wrong_state": (409, "Not possible now"),
    "wrong_offset": (409, "Another part of the file is next"),
    "invalid_fields": (422, "Some fields are wrong"),
    "idempotency_key_reused": (422, "Idempotency-Key used before"),
    "rate_limited": (429, "Too many requests"),
    # the file
    "file_too_large": (413, "File too large"),
    "unsupported_format": (415, "Unsupported format"),
    # the picture in it: recognised, but of no use
    "image_empty": (422, "Empty file"),
    "image_truncated": (422, "Incomplete picture"),
    "image_corrupt": (422, "Damaged picture"),
    "image_too_many_pixels": (422, "Picture too large"),
    "image_too_small": (422, "Picture too small"),
    "image_bad_shape": (422, "Picture too narrow"),
    "image_too_complex": (422, "Picture too complex"),
    # the server
    "internal_error": (500, "Internal error"),
    "overloaded": (503, "Too busy"),
    "no_active_model": (503, "No active version"),
    "database_unavailable": (503, "Database unavailable"),
    "storage_full": (503, "Storage full"),
    "storage_unavailable": (503, "Storage unavailable"),
    "starting": (503, "Starting"),
}


class Refused(ValueError):
    """A file that a person sent and that is not decoded; `str()` of it is the sentence to show.

    `details` are further keys of the answer, such as `limit_bytes` or `detected`; all of them JSON.
    """

    def __init__(self, code: str, sentence: str, **details: object) -> None:
        assert code in PROBLEMS, code
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence
        self.details = details

    @property
    def status(self) -> int:
        return PROBLEMS[self.code][0]


ABOUT_THE_PICTURE = frozenset(
    code for code in PROBLEMS if code.startswith("image_")
) | {"missing_image", "too_many_files", "file_too_large", "unsupported_format"}  # fmt: skip


def document(
    code: str,
    sentence: str,
    *,
    request_id: str,
    status: int | None = None,
    about_the_picture: bool = True,
    **details: object,
) -> dict[str, object]:
    """The body of an `application/problem+json` answer (RFC 9457). What concerns the picture says so under `image`,
    where clients of form-like APIs look for it; `about_the_picture` is false where no picture was asked for."""
    usual_status, title = PROBLEMS[code]
    problem: dict[str, object] = {
        "type": f"urn:breedsite:problem:{code}",
        "title": title,
        "status": status or usual_status,
        "detail": sentence,
        "code": code,
        "request_id": request_id,
        **details,
    }
    if about_the_picture and code in ABOUT_THE_PICTURE:
        problem["image"] = [sentence]
    return problem


# What a browser's own form reads where Django is not asked; elsewhere templates/error.html says the same.
PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} · breedsite</title>
<link rel="stylesheet" href="/static/css/colours.css">
<link rel="stylesheet" href="/static/css/site.css">
<main class="lost">
<p class="status">{status}</p>
<h1>{title}</h1>
<p>{detail}</p>
<p><a class="button" href="/">Back to the start</a></p>
<p class="small">If you ask for help, give this number: <code>{request_id}</code></p>
</main>
"""


def written(problem: dict[str, object], *, path: str, accept: str) -> tuple[str, bytes]:
    """The content type and the body of a refusal: a page for a browser's own form, JSON for programs."""
    if path.startswith("/api") or "text/html" not in accept:
        return "application/problem+json", json.dumps(problem).encode()
    words = {name: html.escape(str(problem[name])) for name in ("title", "status", "detail", "request_id")}
    return "text/html; charset=utf-8", PAGE.format(**words).encode()
