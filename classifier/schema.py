"""What the OpenAPI document says about the API beyond what its code says by itself: bodies, examples, refusals."""

from collections.abc import Iterable
from typing import Any

from django.conf import settings
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema

from classifier import serializers
from classifier.guard import Limits
from classifier.problems import PROBLEMS, document

LIMITS = Limits(max_bytes=settings.MAX_IMAGE_BYTES)
REQUEST_MB = settings.PREDICT_BODY_BYTES / 1024**2
DESCRIPTION = f"""\
Send a photo, read what it shows. The photo is kept nowhere.

**Limits.** JPEG, PNG or WebP, whatever the file is called; at most {LIMITS.max_bytes / 1024**2:g} MB
({LIMITS.max_bytes:,} bytes), {LIMITS.max_pixels / 1e6:g} megapixels, sides of {LIMITS.min_side} to {LIMITS.max_side:,}
pixels, the longer at most {LIMITS.max_aspect:g} times the shorter; one photo a request; {REQUEST_MB:g} MB a
request. An administrator may also limit predictions a minute, or ask you to sign in.

**Refusals** are `application/problem+json` (RFC 9457): `detail` is a sentence for people, `code` a word for programs.
What concerns the picture is repeated under `image`. After 429 and 503, `Retry-After` says how many seconds to wait.
"""

KEYS = """\
`Authorization: Bearer breedsite_…`, a key that somebody with an account made. Its scopes say what it may do, never more
than its owner: `predict` asks about photos; `read` looks at the rest; `train` makes it, and reads; `admin` is all.
"""


def without_twins(endpoints: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Each address once: the same with a slash at its end answers alike and needs no chapter of its own."""
    return [endpoint for endpoint in endpoints if not endpoint[0].endswith("/")]


def introduce(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    result["info"]["description"] = DESCRIPTION
    return result


A_DIGEST = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
A_VERSION = {"name": "dogs120", "number": 1, "digest": A_DIGEST}

ANSWER = OpenApiExample(
    "A photo of a dog (three of the labels)",
    response_only=True,
    status_codes=["200"],
    value={
        "prediction": 1,
        "results": [[0.02, 0.97, 0.01]],
        "label": "border_collie",
        "top": [{"label": "border_collie", "probability": 0.97}, {"label": "beagle", "probability": 0.02}],
        "sure": True,
        "message": "This looks like a Border Collie.",
        "version": A_VERSION,
        "elapsed_ms": 8.4,
        "device": "cpu",
    },
)

SENTENCES = {
    "missing_image": "No file was submitted.",
    "malformed_request": "top_k is a whole number from 1 to 1000.",
    "too_many_files": "Send one photo at a time.",
    "auth_required": "Sign in to use this.",
    "key_refused": "This key expired on 2026-11-20: ask for a new one.",
    "forbidden": "This key lacks the scope predict; it has read.",
    "csrf_failed": "The form has expired. Reload the page and send it again.",
    "request_in_progress": "The first request with this key is still being answered: ask again in a moment.",
    "not_found": "There is nothing at this address.",
    "wrong_state": "It has ended already: it is finished.",
    "wrong_offset": "2097152 bytes are here: go on from there.",
    "storage_full": "The disk is full: nothing can be stored until there is room again.",
    "storage_unavailable": "The storage of files cannot be used just now: try again in a moment.",
    "invalid_fields": "batch_size must lie between 1 and 65536 photos, not 0.",
    "idempotency_key_reused": "This Idempotency-Key was sent with another request: take a new one.",
    "method_not_allowed": "PUT is not answered here.",
    "file_too_large": "This file is larger than the 10 MB that are accepted.",
    "unsupported_format": "iPhone HEIC is not supported; export as JPEG.",
    "image_truncated": "This picture is incomplete: its end is missing.",
    "image_too_small": "This picture is 20 x 20 pixels; each side needs at least 32.",
    "rate_limited": "Too many requests from this address: try again in 12 seconds.",
    "internal_error": "Something went wrong here. It has been noted.",
    "overloaded": "Too many photos at once: try again in a moment.",
    "no_active_model": "No version answers yet: import one and activate it.",
    "database_unavailable": "The database cannot be used just now: try again in a moment.",
}
DETAILS: dict[str, dict[str, Any]] = {
    "wrong_offset": {"received": 2097152},
    "invalid_fields": {"fields": {"batch_size": "batch_size must lie between 1 and 65536 photos, not 0."}},
    "file_too_large": {"limit_bytes": 10485760},
    "unsupported_format": {"detected": "HEIC", "accepted": ["JPEG", "PNG", "WEBP"]},
}
ELSEWHERE = {  # answers of other addresses alone
    *("not_found", "invalid_fields", "request_in_progress", "idempotency_key_reused", "wrong_state", "wrong_offset"),
    *("storage_full", "storage_unavailable", "starting"),
}
PREDICT_CODES = [code for code in PROBLEMS if code not in ELSEWHERE]


def refusals(codes: Iterable[str]) -> dict[Any, OpenApiResponse]:
    """The responses of these codes, gathered by status, each code with its example where there is one."""
    by_status: dict[int, list[str]] = {}
    for code in codes:
        by_status.setdefault(PROBLEMS[code][0], []).append(code)
    return {
        (status, "application/problem+json"): OpenApiResponse(
            serializers.ProblemSerializer,
            description="; ".join(f"`{code}`: {PROBLEMS[code][1]}" for code in several),
            examples=[example(code) for code in several if code in SENTENCES],
        )
        for status, several in by_status.items()
    }


def example(code: str) -> OpenApiExample:
    problem = document(code, SENTENCES[code], request_id="4cd8e2061c9e0366", **DETAILS.get(code, {}))
    return OpenApiExample(code, value=problem, response_only=True, media_type="application/problem+json")


def binary(media_type: str) -> dict[str, Any]:
    return {media_type: {"type": "string", "format": "binary", "maxLength": LIMITS.max_bytes}}


RETRY_AFTER = OpenApiParameter(
    "Retry-After", int, OpenApiParameter.HEADER, description="Seconds to wait.", response=[429, 503]
)
REQUEST_ID = OpenApiParameter(
    "X-Request-ID",
    str,
    OpenApiParameter.HEADER,
    description="Names the request; with it a failure is found in the server's log.",
    response=True,
)
# Of what creates something, with the codes request_in_progress and idempotency_key_reused.
IDEMPOTENCY_KEY = OpenApiParameter(
    "Idempotency-Key",
    {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
    OpenApiParameter.HEADER,
    description="A new UUID for each thing to be made. Sent again with the same request, within a day, it makes "
    "nothing twice: the first answer comes once more, with `Idempotency-Replayed: true`.",
)
TOP_K = OpenApiParameter(
    "top_k",
    {"type": "integer", "minimum": 1, "maximum": serializers.MAX_TOP_K, "default": serializers.DEFAULT_TOP_K},
    OpenApiParameter.QUERY,
    description="How many labels `top` holds; a field of the form or of the JSON says the same.",
)

predict_image = extend_schema(
    operation_id="predictImage",
    summary="What does this photo show?",
    description="With and without a trailing slash. What the photo is called does not matter, its bytes decide.",
    tags=["predict"],
    parameters=[TOP_K, REQUEST_ID, RETRY_AFTER],
    request={
        "multipart/form-data": serializers.PhotoFormSerializer,
        "application/json": serializers.PhotoJsonSerializer,
        **{key: value for kind in ("jpeg", "png", "webp") for key, value in binary(f"image/{kind}").items()},
    },
    responses={
        (200, "application/json"): OpenApiResponse(serializers.PredictionSerializer, "The answer."),
        **refusals(PREDICT_CODES),
    },
    examples=[ANSWER],
)

model = extend_schema(
    operation_id="model",
    summary="Which version answers, and how good is it?",
    description="Labels in the order of `results`, the preprocessing, and what was measured on photos kept apart.",
    tags=["predict"],
    parameters=[REQUEST_ID, RETRY_AFTER],
    responses={
        (200, "application/json"): OpenApiResponse(serializers.ModelSerializer, "The version that answers."),
        **refusals(["method_not_allowed", "internal_error", "no_active_model"]),
    },
)


class KeyScheme(OpenApiAuthenticationExtension):
    """A program's key, made in the admin or by `manage.py apikey`."""

    target_class = "breedsite.keys.Bearer"
    name = "key"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "description": KEYS}


class SessionScheme(OpenApiAuthenticationExtension):
    """A browser that signed in at /login/; anonymous callers need nothing where the view says so."""

    target_class = "breedsite.access.Session"
    name = "session"

    def get_security_requirement(self, auto_schema: Any) -> list[dict[str, list[str]]]:
        return [{"session": []}, *([{}] if getattr(auto_schema.view, "anonymous", False) else [])]

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "apiKey", "in": "cookie", "name": settings.SESSION_COOKIE_NAME}
