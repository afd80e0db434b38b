"""`Idempotency-Key`: a program that heard no answer sends its request again, and what it asked for is made once.

    class Runs(ProgramView):
        @once
        def post(self, request: Request) -> Response: ...

The header is as in draft-ietf-httpapi-idempotency-key-header. The same key with the same request gets the stored
answer and `Idempotency-Replayed: true`; with another request 422; while the first is at work 409. Keys belong to who
sends them and to the address, and are forgotten after a day. What was refused made nothing: it is not kept.

The view runs in one transaction with the answer that is kept, so that a process that dies leaves both or neither. What
takes long must be a job, as everywhere: the body has been read before.
"""

import functools
import hashlib
import json
import re
from collections.abc import Callable
from typing import Any

from django.core.files.uploadedfile import UploadedFile
from django.db import transaction
from django.utils.datastructures import MultiValueDict
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from breedsite.access import key_of
from breedsite.models import Receipt
from classifier.problems import Refused

Handler = Callable[..., Response]
KEPT_HEADERS = ("Location",)
REPLAYED = "Idempotency-Replayed"


class NotOurs(Exception):
    """Another process answers this request by now."""


def once(handler: Handler) -> Handler:
    """Make a method of a view that creates something safe to be asked twice."""

    @functools.wraps(handler)
    def answer(view: APIView, request: Request, *args: Any, **kwargs: Any) -> Response:
        key = request.headers.get("Idempotency-Key")
        if key is None:
            return handler(view, request, *args, **kwargs)
        receipt = begun(request, key)
        if receipt.answered:
            return Response(receipt.data, status=receipt.status, headers={**receipt.headers, REPLAYED: "true"})
        try:
            with transaction.atomic():
                response = handler(view, request, *args, **kwargs)
                if response.status_code < 400:
                    keep(receipt, response)
                    return response
                transaction.set_rollback(True)
        except NotOurs:
            return answer(view, request, *args, **kwargs)  # what the other said
        except BaseException:
            receipt.give_back()
            raise
        receipt.give_back()
        return response

    return answer


def begun(request: Request, key: str) -> Receipt:
    if not re.fullmatch(r"[\x21-\x7e]{1,255}", key):
        sentence = "An Idempotency-Key has 1 to 255 letters, digits or signs, without spaces: a UUID will do."
        raise Refused("malformed_request", sentence)
    assert request.user.is_authenticated, "nobody's keys cannot be told from each other"
    api_key = key_of(request)
    return Receipt.objects.begin(
        caller=f"user {request.user.pk}" if api_key is None else f"key {api_key.pk}",
        request=f"{request.method} {request.path.rstrip('/')}"[:255],
        key=key,
        fingerprint=fingerprint(request),
    )


def keep(receipt: Receipt, response: Response) -> None:
    body = JSONRenderer().render(response.data).decode() if response.data is not None else "null"
    headers = {name: response[name] for name in KEPT_HEADERS if name in response}
    if not receipt.finish(response.status_code, body, headers):
        raise NotOurs


def fingerprint(request: Request) -> str:
    """sha256 of what a request says, not of how it is packed: a form that is sent again has another boundary."""
    found = hashlib.sha256()
    data = request.data
    if isinstance(data, bytes):
        found.update(data)
        data = None
    fields = {name: data.getlist(name) for name in data} if isinstance(data, MultiValueDict) else data
    address = [request.method, request.path.rstrip("/"), request.META.get("QUERY_STRING", "")]
    found.update(json.dumps([address, fields], sort_keys=True, default=said).encode())
    return found.hexdigest()


def said(value: object) -> Any:
    """A file of a form, by its name and its bytes."""
    assert isinstance(value, UploadedFile), type(value)
    found = hashlib.sha256()
    for chunk in value.chunks():
        found.update(chunk)
    value.seek(0)
    return [value.name, found.hexdigest()]
