"""Batches for programs: photos by the thousand in, rows out. What a batch is stands in `classifier.models.batch`."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.http import StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404
from django.urls import reverse
from rest_framework.request import Request
from rest_framework.response import Response

from breedsite.body import JsonBody, JsonView
from breedsite.idempotency import once
from breedsite.paging import query, whole
from classifier.api import batch_schema as schema
from classifier.api.asked import Filters, Wanted, choice, truth
from classifier.api.batch_json import item_as_json, whole_as_json
from classifier.models import Batch, BatchItem
from classifier.models.receiving import receive, receive_piece, start
from classifier.parsers import BatchFormParser, PieceParser
from classifier.problems import Refused
from classifier.results import FORMATS

MOST_ITEMS, PAGE_ITEMS = 1000, 200  # rows of one answer, at most and where nothing is said


def seen(request: Any, pk: int) -> Batch:
    """The batch that an address names. Another's is not there: Http404."""
    return get_object_or_404(Batch.objects.seen_by(request.user), pk=pk)


def changeable(request: Any, pk: int, verb: str = "change") -> Batch:
    """The same, to do something with it. Raises Refused for who may look at it alone."""
    batch = seen(request, pk)
    if batch.created_by_id != request.user.pk and not request.user.has_perm(f"classifier.{verb}_batch"):
        raise Refused("forbidden", "You may look at this batch, and not change it.")
    return batch


class Batches(JsonView):
    """All that one may see, and a new one."""

    scopes = {"GET": "read", "POST": "predict"}
    parser_classes = [BatchFormParser, JsonBody]
    accepted = "Send photos or a zip in the field files of a form, or JSON."

    @schema.listed
    def get(self, request: Request) -> Response:
        rows = Batch.objects.seen_by(request.user).prefetch_related("versions").select_related("created_by")
        return schema.BATCHES.answer(request, rows)

    @schema.created
    @once
    def post(self, request: Request) -> Response:
        batch = begin(request, Wanted.of(request))
        return Response(whole_as_json(batch), status=201, headers={"Location": reverse("batch", args=[batch.pk])})


def begin(request: Request, wanted: Wanted) -> Batch:
    """A batch of what was sent, or of a folder of the server, under way unless it is to stay open. Raises Refused."""
    files = [(file.name or "", file.read()) for file in wanted.files]
    if not (files or wanted.source or wanted.open):
        raise Refused("missing_image", "No photo was sent: put some into the field files, or say open.")
    batch = wanted.begin(request.user)
    try:
        if files:
            receive(batch, files)
        if not (wanted.source or wanted.open):
            start(batch)
    except BaseException:
        batch.delete()
        raise
    return batch


class OneBatch(JsonView):
    scopes = {"GET": "read", "DELETE": "predict"}

    @schema.read
    def get(self, request: Request, pk: int) -> Response:
        return Response(whole_as_json(seen(request, pk)))

    @schema.deleted
    def delete(self, request: Request, pk: int) -> Response:
        changeable(request, pk, "delete").delete()
        return Response(status=204)


class Files(JsonView):
    """More photos for an open batch."""

    scopes = {"POST": "predict"}
    parser_classes = [BatchFormParser]
    accepted = "Send photos in the field files of a form."

    @schema.files
    @once
    def post(self, request: Request, pk: int) -> Response:
        batch = changeable(request, pk)
        files = request.FILES.getlist("files")
        if not files:
            raise Refused("missing_image", "No photo was sent: put some into the field files.")
        came = receive(batch, [(file.name or "", file.read()) for file in files])
        refused = [item_as_json(item, batch) for item in came if item.status == BatchItem.Status.REFUSED]
        return Response({"photos": batch.items.count(), "refused": refused})


class Archive(JsonView):
    """A zip for an open batch, piece by piece."""

    scopes = {"PUT": "predict"}
    parser_classes = [PieceParser]

    @schema.archive
    def put(self, request: Request, pk: int) -> Response:
        batch = changeable(request, pk)
        asked = query(request, "offset", "total", "name")
        if "offset" not in asked or "total" not in asked:
            raise Refused("malformed_request", "Say where the piece belongs: offset and total, in bytes.")
        offset, total = whole("offset", asked["offset"]), whole("total", asked["total"])
        data = request.data if isinstance(request.data, bytes) else b""
        return Response(
            {"received": receive_piece(batch, data, offset=offset, total=total, name=asked.get("name", ""))}
        )


class Start(JsonView):
    scopes = {"POST": "predict"}

    @schema.start
    def post(self, request: Request, pk: int) -> Response:
        batch = changeable(request, pk)
        start(batch)
        return Response(whole_as_json(batch))


class Stop(JsonView):
    scopes = {"POST": "predict"}

    @schema.stop
    def post(self, request: Request, pk: int) -> Response:
        batch = changeable(request, pk)
        if not batch.stop():
            raise Refused("wrong_state", f"This batch has ended before: it is {batch.get_status_display()}.")
        return Response(whole_as_json(batch))


class Resume(JsonView):
    scopes = {"POST": "predict"}

    @schema.resume
    def post(self, request: Request, pk: int) -> Response:
        batch = changeable(request, pk)
        if not batch.resume():
            raise Refused("wrong_state", f"This batch cannot go on: {why_not(batch)}.")
        return Response(whole_as_json(batch))


def why_not(batch: Batch) -> str:
    """Why a batch cannot be gone on with."""
    if batch.status not in (Batch.Status.STOPPED, Batch.Status.FAILED):
        return f"it is {batch.get_status_display()}"
    return "its photos are gone" if batch.photos_gone_at else "nothing of it is left to do"


class Items(JsonView):
    scopes = {"GET": "read"}

    @schema.items
    def get(self, request: Request, pk: int) -> Response:
        batch = seen(request, pk)
        asked = query(request, "after", "page_size", "status", "label", "code", "unsure")
        size = whole("page_size", asked.get("page_size", str(PAGE_ITEMS)), low=1, high=MOST_ITEMS)
        after = whole("after", asked.get("after", "0"))
        rows = Filters.of(asked).of_batch(batch).filter(position__gte=after).order_by("position")
        found = list(rows[: size + 1])
        following = None
        if len(found) > size:
            place = {"after": str(found[size - 1].position + 1)}
            following = f"{request.path}?{urlencode(asked | place)}"
        return Response({"results": [item_as_json(item, batch) for item in found[:size]], "next": following})


class Results(JsonView):
    scopes = {"GET": "read"}

    @schema.results
    def get(self, request: Request, pk: int) -> HttpResponseBase:
        batch, asked = seen(request, pk), query(request, "format", "partial")
        kind = FORMATS[choice(asked, "format", FORMATS) or "csv"]
        if batch.status != Batch.Status.FINISHED and not truth(asked.get("partial", ""), "partial"):
            far = f"{batch.get_status_display()}, {batch.progress_done} of {batch.progress_total} photos are done"
            raise Refused("wrong_state", f"It is {far}: partial=true gives what is there.")
        response = StreamingHttpResponse(kind.write(batch.found()), content_type=kind.media_type)
        response["Content-Disposition"] = f'attachment; filename="batch-{batch.pk}{kind.suffix}"'
        response["Cache-Control"] = "no-store"
        return response
