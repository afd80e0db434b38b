"""What the OpenAPI document says about batches: bodies, parameters, examples, refusals."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema

from breedsite.paging import Listing, one_of
from classifier.api.batch_json import short_as_json
from classifier.api.batch_shapes import (
    BatchFormSerializer,
    BatchItemListSerializer,
    BatchListSerializer,
    BatchSerializer,
    CameSerializer,
    FilesFormSerializer,
    NewBatchSerializer,
    ReceivedSerializer,
)
from classifier.models import Batch, BatchItem
from classifier.models.batch import MOST_FILES
from classifier.results import FORMATS
from classifier.schema import IDEMPOTENCY_KEY, REQUEST_ID, REQUEST_MB, RETRY_AFTER, refusals

ALWAYS = ["auth_required", "key_refused", "forbidden", "csrf_failed", "rate_limited", "internal_error"]
ONE = [*ALWAYS, "not_found", "method_not_allowed", "database_unavailable"]
BODY = [
    "malformed_request",
    "file_too_large",
    "unsupported_format",
    "overloaded",
    "storage_full",
    "storage_unavailable",
]
AGAIN = ["request_in_progress", "idempotency_key_reused"]
MOST = 2**63 - 1


A_BATCH = {
    "id": 12,
    "name": "March",
    "status": "predicting",
    "active": True,
    "progress": {"done": 512, "total": 2000},
    "eta_seconds": 41.5,
    "counts": {"pending": 1488, "answered": 507, "refused": 5},
    "versions": ["dogs120:1"],
    "combine": "mean",
    "source": {"kind": "zip", "name": "march.zip"},
    "notes": [],
    "failure": None,
    "device": "cpu",
    "owner": "ann",
    "created_at": "2026-03-02T08:00:00+00:00",
    "started_at": "2026-03-02T08:00:01+00:00",
    "finished_at": None,
    "photos_gone_at": None,
    "items": "/api/batches/12/items",
    "results": "/api/batches/12/results",
    "page": "/batches/12/",
}
AN_ITEM = {
    "position": 1,
    "file": "a/rex.jpg",
    "status": "answered",
    "code": None,
    "detail": None,
    "label": "border_collie",
    "probability": 0.97,
    "sure": True,
    "animated": False,
    "top": [{"label": "border_collie", "probability": 0.97}, {"label": "beagle", "probability": 0.02}],
}
A_REFUSAL = dict.fromkeys(AN_ITEM) | {
    "position": 2,
    "file": "a/notes.txt",
    "status": "refused",
    "code": "unsupported_format",
    "detail": "This is not a picture that can be read here. Send a JPEG, PNG or WebP.",
    "animated": False,
    "top": [],
}


def query(name: str, kind: Any, description: str) -> OpenApiParameter:
    return OpenApiParameter(name, kind, OpenApiParameter.QUERY, description=description)


def shown(value: Any, *, status: int = 200) -> OpenApiExample:
    return OpenApiExample("An example", response_only=True, status_codes=[str(status)], value=value)


def answer(serializer: Any, description: str, *, status: int = 200, codes: list[str]) -> dict[Any, Any]:
    return {(status, "application/json"): OpenApiResponse(serializer, description), **refusals(dict.fromkeys(codes))}


def described(operation: str, summary: str, description: str = "", **parts: Any) -> Any:
    parameters = [REQUEST_ID, RETRY_AFTER, *parts.pop("parameters", [])]
    return extend_schema(
        operation_id=operation,
        summary=summary,
        description=description,
        tags=["batches"],
        parameters=parameters,
        **parts,
    )


BATCHES = Listing(
    show=short_as_json,
    filters={"status": one_of("status", Batch.Status.values, "Those alone.")},
    orders=("-id", "id"),
)
AFTER = {"type": "integer", "minimum": 0, "maximum": MOST}
listed = described(
    "batches",
    "Your batches, the newest first",
    "Whoever may look at all of them sees all.",
    parameters=BATCHES.parameters,
    responses=answer(BatchListSerializer, "A page of them.", codes=[*ONE, "malformed_request"]),
    examples=[shown({"results": [A_BATCH], "next": "/api/batches?after=12"})],
)
created = described(
    "newBatch",
    "Ask about many photos",
    f"With photos in the form it starts at once, unless `open` says that more follow. A request has at most "
    f"{REQUEST_MB:g} MB: more photos are sent to `files` of an open batch, {MOST_FILES:,} in all, a large zip in "
    "pieces to `archive`, and `start` ends it.",
    parameters=[IDEMPOTENCY_KEY],
    request={"multipart/form-data": BatchFormSerializer, "application/json": NewBatchSerializer},
    responses=answer(
        BatchSerializer,
        "It is there; `Location` says where.",
        status=201,
        codes=[*ONE, *BODY, *AGAIN, "missing_image", "too_many_files", "wrong_state", "no_active_model"],
    ),
    examples=[
        shown(A_BATCH | {"labels": ["beagle", "border_collie"]}, status=201),
        OpenApiExample("An open batch", value={"name": "March", "open": True}, request_only=True),
    ],
)
read = described(
    "batch",
    "How far is it?",
    responses=answer(BatchSerializer, "The batch.", codes=ONE),
    examples=[shown(A_BATCH | {"labels": ["beagle", "border_collie"]})],
)
deleted = described(
    "deleteBatch",
    "Remove it with its photos and answers",
    "What it works on ends; a folder of the server stays as it is.",
    request=None,
    responses={204: OpenApiResponse(description="It is gone."), **refusals(ONE)},
)
files = described(
    "batchFiles",
    "More photos for an open batch",
    "They come after those that are there. One that cannot be used gets its row with the reason.",
    parameters=[IDEMPOTENCY_KEY],
    request={"multipart/form-data": FilesFormSerializer},
    responses=answer(
        CameSerializer,
        "They are here.",
        codes=[*ONE, *BODY, *AGAIN, "missing_image", "too_many_files", "wrong_state", "wrong_offset"],
    ),
    examples=[shown({"photos": 40, "refused": [A_REFUSAL]})],
)
archive = described(
    "batchArchive",
    "A piece of a zip for an open batch",
    "The body is the piece. After 409 `wrong_offset` go on at `received`.",
    parameters=[
        query("offset", AFTER, "Where the piece begins, in bytes."),
        query("total", AFTER, "How large the whole zip is, in bytes."),
        query("name", str, "What the zip is called."),
    ],
    request={"application/octet-stream": {"type": "string", "format": "binary"}},
    responses=answer(ReceivedSerializer, "The piece is here.", codes=[*ONE, *BODY, "wrong_state", "wrong_offset"]),
    examples=[shown({"received": 8388608})],
)
items = described(
    "batchItems",
    "Its rows, in the order of the photos",
    parameters=[
        query("after", AFTER, "Those after this position: `next` says it."),
        query("page_size", {"type": "integer", "minimum": 1, "maximum": 1000, "default": 200}, "Rows on a page."),
        query("status", {"type": "string", "enum": BatchItem.Status.values}, "Those alone."),
        query("label", str, "Those alone."),
        query("code", str, "Those alone that were refused with this code."),
        query("unsure", bool, "Those alone whose answer is not sure."),
    ],
    responses=answer(BatchItemListSerializer, "A page of them.", codes=[*ONE, "malformed_request"]),
    examples=[shown({"results": [AN_ITEM, A_REFUSAL], "next": None})],
)
results = described(
    "batchResults",
    "All its rows as a file",
    "A line for each photo, in order. `category` and `probabilities` are what competitions ask for.",
    parameters=[
        query("format", {"type": "string", "enum": list(FORMATS), "default": "csv"}, "Which file."),
        query("partial", bool, "What is there already, where it has not finished."),
    ],
    responses={
        (200, "text/csv"): OpenApiResponse({"type": "string"}, "The rows."),
        (200, "application/jsonl"): OpenApiResponse({"type": "string"}, "The rows."),
        **refusals([*ONE, "malformed_request", "wrong_state"]),
    },
)


def verb(operation: str, summary: str, description: str = "") -> Any:
    return described(
        operation,
        summary,
        description,
        request=None,
        responses=answer(BatchSerializer, "The batch.", codes=[*ONE, "malformed_request", "wrong_state"]),
        examples=[shown(A_BATCH | {"labels": ["beagle", "border_collie"]})],
    )


start = verb("startBatch", "All its photos have come")
stop = verb("stopBatch", "Stop it", "What is answered stays.")
resume = verb("resumeBatch", "Go on with what a stop or a failure left")
