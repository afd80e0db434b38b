"""Every refusal in one shape: problem+json for programs, a page with the same sentence and status for people."""

import errno
import json
import sys
from typing import Any

from django.core.exceptions import PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse
from django.http.request import UnreadablePostError
from django.template.loader import render_to_string
from rest_framework import exceptions

from breedsite.storage import StorageAway
from classifier.gate import request_id, retry_after_seconds
from classifier.predictor import Busy, NoActiveVersion
from classifier.problems import PROBLEMS, Refused, document

SENTENCES = {
    "malformed_request": "The request could not be read. Send it again.",
    "auth_required": "Sign in to use this.",
    "forbidden": "You may not do this.",
    "csrf_failed": "The form has expired. Reload the page and send it again.",
    "not_found": "There is nothing at this address.",
    "file_too_large": "This request is too large.",
    "internal_error": "Something went wrong here. It has been noted.",
    "no_active_model": "No version answers yet: import one and activate it.",
    "overloaded": "Too many photos at once: try again in a moment.",
    "database_unavailable": "The database cannot be used just now: try again in a moment.",
    "storage_full": "The disk is full: nothing can be stored until there is room again.",
    "storage_unavailable": "The storage of files cannot be used just now: try again in a moment.",
}

DISK_FULL = ("disk is full", "No space left on device")  # as SQLite and PostgreSQL say it


class ProblemPage(HttpResponse):
    """A refusal as a page of its own. The form's page draws `context` into itself instead."""

    context: dict[str, Any]


def wants_json(request: HttpRequest) -> bool:
    """Programs under /api always; elsewhere who asks for JSON and not for a page."""
    accept = request.headers.get("Accept", "")
    return request.path.startswith("/api") or ("json" in accept and "html" not in accept)


def problem_page(
    request: HttpRequest,
    code: str,
    sentence: str = "",
    *,
    retry_after_seconds: int | None = None,
    **details: Any,
) -> HttpResponse:
    """The answer to a request refused with `code`, for whoever asked."""
    status, title = PROBLEMS[code]
    sentence = sentence or SENTENCES[code]
    number = request.META.setdefault("breedsite.request_id", request_id())
    request.META["breedsite.problem"] = code  # the gate counts it
    if wants_json(request):
        problem = document(code, sentence, request_id=number, **details)
        response = HttpResponse(json.dumps(problem), status=status, content_type="application/problem+json")
    else:
        context = {"status": status, "title": title, "sentence": sentence, "code": code, "request_id": number}
        # Rendered without the request: it must appear when session or database are what failed.
        response = ProblemPage(render_to_string("error.html", context), status=status)
        response.context = context
    if retry_after_seconds:
        response.headers["Retry-After"] = str(retry_after_seconds)
    response.headers["Cache-Control"] = "no-store"
    return response


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    too_big = isinstance(exception, RequestDataTooBig)
    return problem_page(request, "file_too_large" if too_big else "malformed_request", about_the_picture=False)


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    return problem_page(request, "forbidden")


def page_not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    return problem_page(request, "not_found")


def server_error(request: HttpRequest) -> HttpResponse:
    """What no view foresaw. Django asks for it while the exception is handled, and logs that with its traceback."""
    code = unforeseen(sys.exception())
    wait = None if code == "internal_error" else retry_after_seconds()
    return problem_page(request, code, retry_after_seconds=wait)


def unforeseen(error: BaseException | None) -> str:
    """The code of a failure: a disk without room, a database or storage that is away pass, all else is our mistake."""
    match error:
        case StorageAway():
            return "storage_unavailable"
        case OSError(errno=errno.ENOSPC | errno.EDQUOT):
            return "storage_full"
        case OperationalError() if any(words in str(error) for words in DISK_FULL):
            return "storage_full"
        case OperationalError() | InterfaceError():
            return "database_unavailable"
    return "internal_error"


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    return problem_page(request, "csrf_failed")


def api_problem(exception: Exception, context: dict[str, Any]) -> HttpResponse | None:
    """The answer of the API to an exception of a view; None for what is our own mistake (a 500, with its traceback
    in the log)."""
    request: HttpRequest = context["request"]._request
    match exception:
        case Refused():
            return problem_page(request, exception.code, exception.sentence, **dict[str, Any](exception.details))
        case Busy():
            return problem_page(request, "overloaded", retry_after_seconds=exception.retry_after_seconds)
        case NoActiveVersion():
            return problem_page(request, "no_active_model", retry_after_seconds=retry_after_seconds())
        case exceptions.NotAuthenticated() | exceptions.AuthenticationFailed():
            refused = exception.get_codes() == "key_refused"
            response = problem_page(request, *(("key_refused", str(exception)) if refused else ("auth_required",)))
            response.headers["WWW-Authenticate"] = getattr(exception, "auth_header", "Session")
            return response
        case CsrfFailed():
            return problem_page(request, "csrf_failed")
        case exceptions.PermissionDenied() | PermissionDenied():
            return problem_page(request, "forbidden")
        case exceptions.NotFound() | Http404():
            return problem_page(request, "not_found")
        case exceptions.MethodNotAllowed():
            return problem_page(request, "method_not_allowed", f"{request.method} is not answered here.")
        case exceptions.UnsupportedMediaType():
            accepted = ["multipart/form-data", "image/jpeg", "image/png", "image/webp", "application/json"]
            sentence = "Send the photo as a form field named image, as the body itself, or as JSON with image_base64."
            return problem_page(request, "unsupported_format", sentence, accepted=accepted)
        case TooOften():
            return problem_page(request, "rate_limited", str(exception), retry_after_seconds=exception.wait_seconds)
        case exceptions.Throttled():
            wait = int(getattr(exception, "wait", None) or 1)  # seconds
            sentence = f"Too many requests from this address: try again in {wait} seconds."
            return problem_page(request, "rate_limited", sentence, retry_after_seconds=wait)
        case RequestDataTooBig():
            return problem_page(request, "file_too_large")
        case exceptions.APIException() | SuspiciousOperation() | UnreadablePostError():
            # A client that hung up reads nothing of this; it must not be counted as a mistake of ours.
            return problem_page(request, "malformed_request")
    return None


class TooOften(exceptions.APIException):
    """More calls than a rate allows, in a sentence of its own."""

    def __init__(self, sentence: str, wait_seconds: int) -> None:
        super().__init__(sentence)
        self.wait_seconds = wait_seconds


class CsrfFailed(exceptions.PermissionDenied):
    """A signed-in browser sent a request without the form's token."""
