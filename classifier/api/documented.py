"""How the documentation says what an address of programs answers: its parameters, its JSON, its refusals."""

from collections.abc import Iterable
from typing import Any

from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema

from classifier.schema import REQUEST_ID, RETRY_AFTER, refusals

ALWAYS = ("auth_required", "key_refused", "forbidden", "csrf_failed", "method_not_allowed", "rate_limited")
BROKEN = ("internal_error", "database_unavailable")
QUERY = ("malformed_request",)
ONE = ("not_found",)
BODY = ("malformed_request", "file_too_large", "unsupported_format", "invalid_fields")
AGAIN = ("request_in_progress", "idempotency_key_reused")


def asked(name: str, kind: Any, description: str, *, required: bool = False) -> OpenApiParameter:
    return OpenApiParameter(name, kind, OpenApiParameter.QUERY, required=required, description=description)


def shown(value: Any, *, status: int = 200) -> OpenApiExample:
    return OpenApiExample("An example", response_only=True, status_codes=[str(status)], value=value)


def sent(name: str, value: Any) -> OpenApiExample:
    return OpenApiExample(name, request_only=True, value=value)


def operation(
    tag: str,
    name: str,
    summary: str,
    description: str = "",
    *,
    answer: Any = None,
    says: str = "The answer.",
    status: int = 200,
    media_type: str = "application/json",
    codes: Iterable[str] = (),
    parameters: Iterable[OpenApiParameter] = (),
    **parts: Any,
) -> Any:
    """A decorator for a view's method; `codes` are those refusals that not every address has."""
    key: Any = status if answer is None else (status, media_type)
    return extend_schema(
        operation_id=name,
        summary=summary,
        description=description or f"{summary}.".replace("?.", "?"),
        tags=[tag],
        parameters=[REQUEST_ID, RETRY_AFTER, *parameters],
        responses={key: OpenApiResponse(answer, says), **refusals(dict.fromkeys([*ALWAYS, *codes, *BROKEN]))},
        **parts,
    )
