"""The pages of one batch: its answers are watched, looked through and taken away."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.db.models import Count, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.cache import patch_cache_control
from django.views.decorators.http import require_POST, require_safe

from breedsite.errors import problem_page
from classifier.api.asked import Filters, number
from classifier.api.batches import changeable, seen, why_not
from classifier.guard import Limits
from classifier.labels import chance, display_name, verdict
from classifier.models import Batch, BatchItem
from classifier.models.predicting import reader
from classifier.models.receiving import start
from classifier.preprocess import thumbnail
from classifier.problems import PROBLEMS, Refused
from classifier.results import FORMATS, top
from classifier.sources.listing import SourceError
from classifier.views.batches import limits, line, sending

GRID = 48  # photos
SIDES = {"small": 320, "large": 1024}  # pixels of the copies that are shown
PICTURE_SECONDS = 3600  # how long a browser keeps them
HELD_SECONDS = 60.0  # how long a zip stays open for the next photo of a page: a removed one takes room until then
SHOWS = {"answered": "answered", "unsure": "not sure", "refused": "cannot be used", "pending": "not yet"}
decoding = threading.BoundedSemaphore(max(1, settings.CORES // 2))  # a photo of 50 megapixels takes 150 MB meanwhile


@login_required(login_url="login")
@require_safe
def batch(request: HttpRequest, pk: int) -> HttpResponse:
    one = seen(request, pk)
    counts = one.counts
    try:
        shown = grid(one, request)
    except Refused as refusal:
        return problem_page(request, refusal.code, refusal.sentence)
    context = line(one, counts) | shown
    context |= {
        "may_change": one.created_by_id == request.user.pk or request.user.has_perm("classifier.change_batch"),
        "may_resume": one.status in (Batch.Status.STOPPED, Batch.Status.FAILED) and not one.photos_gone_at,
        "labels": occurring(one.items.exclude(label=""), "label"),
        "codes": [
            (code, PROBLEMS[code][1], n)
            for code, n in occurring(one.items.exclude(code=""), "code")
            if code in PROBLEMS
        ],
        "shows": SHOWS,
        "formats": [(name, kind.title) for name, kind in FORMATS.items()],
        "partial": one.status != Batch.Status.FINISHED,
        "keep_days": f"{settings.BATCH_KEEP_DAYS:g}",
        "sending": sending() | {"batch": one.pk},
        "limits": limits(),
    }
    return render(request, "batch.html", context)


def occurring(items: QuerySet[BatchItem], column: str) -> list[tuple[str, int]]:
    """The values of a column, the most frequent first, each with its number of photos."""
    rows = items.order_by().values_list(column).annotate(n=Count("pk")).order_by("-n", column)
    return [(value, n) for value, n in rows]


@dataclass(frozen=True)
class Shown:
    """What of a batch somebody wants to see."""

    show: str  # one of SHOWS, the code of a refusal, or nothing for all
    label: str

    @classmethod
    def of(cls, request: HttpRequest) -> Shown:
        show, label = (request.GET.get(name, "").replace("\0", "") for name in ("show", "label"))
        return cls(show if show in SHOWS or show in PROBLEMS else "", label)

    def rows(self, batch: Batch) -> QuerySet[BatchItem]:
        state, unsure = ("", True) if self.show == "unsure" else (self.show if self.show in SHOWS else "", False)
        code = self.show if self.show in PROBLEMS else ""
        return Filters(status=state, label=self.label, code=code, unsure=unsure).of_batch(batch)

    def address(self, **place: int) -> str:
        chosen = {name: value for name, value in vars(self).items() if value}
        return f"?{urlencode(chosen | place)}"


def grid(batch: Batch, request: HttpRequest) -> dict[str, Any]:
    """A page of its photos: those after or before a position. Raises Refused."""
    shown = Shown.of(request)
    rows = shown.rows(batch)
    before, after = number(request.GET, "before"), number(request.GET, "after")
    if before is not None:
        found = list(rows.filter(position__lt=before - 1).order_by("-position")[: GRID + 1])
        some, first, last = found[:GRID][::-1], len(found) <= GRID, False
    else:
        found = list(rows.filter(position__gte=after or 0).order_by("position")[: GRID + 1])
        some, first, last = found[:GRID], not after, len(found) <= GRID
    return {
        "photos": [photo(item) for item in some],
        "shown": shown,
        "earlier": "" if first or not some else shown.address(before=some[0].position + 1),
        "later": "" if last or not some else shown.address(after=some[-1].position + 1),
        "side": SIDES["small"],
    }


def photo(item: BatchItem) -> dict[str, Any]:
    """One photo of the grid."""
    return {
        "item": item,
        "number": item.position + 1,
        "name": display_name(item.label) if item.label else "",
        "percent": "" if item.probability is None else chance(item.probability),
        "title": PROBLEMS[item.code][1] if item.code in PROBLEMS else "",
    }


@login_required(login_url="login")
@require_safe
def one_photo(request: HttpRequest, pk: int, position: int) -> HttpResponse:
    """The whole answer to one photo."""
    one = seen(request, pk)
    item = found(one, position)
    row = item.row()
    shown = [(display_name(label), p) for label, p in top(row, one.labels, len(one.labels))]
    context = photo(item) | {
        "batch": one,
        "message": verdict(item.label, sure=bool(item.sure)) if item.label else "",
        "bars": [{"name": name, "value": f"{p:.4f}", "percent": chance(p)} for name, p in shown[:5]],
        "all": [{"name": name, "percent": chance(p, 1)} for name, p in shown],
        "earlier": position - 1 if position > 1 else None,
        "later": position + 1 if one.items.filter(position=position).exists() else None,
        "versions": one.members,
        "gone": one.photos_gone_at is not None,
    }
    return render(request, "batch_photo.html", context)


def found(batch: Batch, position: int) -> BatchItem:
    """A row by its position, which counts from 1 here. Http404."""
    if position < 1:
        raise Http404
    return get_object_or_404(batch.items, position=position - 1)


@login_required(login_url="login")
@require_safe
def picture(request: HttpRequest, pk: int, position: int, size: str) -> HttpResponse:
    """A fresh small JPEG of a photo, decoded as every photo is: nothing of the file is passed on but its pixels."""
    one = seen(request, pk)
    item = found(one, position)
    if size not in SIDES or item.code:
        raise Http404
    if one.photos_gone_at:
        return problem_page(request, "not_found", "The photos of this batch are gone; its answers are kept.")
    try:
        with decoding:
            limits = Limits(max_bytes=settings.MAX_IMAGE_BYTES)
            data = thumbnail(reading(one.pk, stamp(one))(item), SIDES[size], limits)
    except (Refused, SourceError) as error:
        return problem_page(request, "not_found", str(error))
    response = HttpResponse(data, content_type="image/jpeg")
    response.headers["Content-Security-Policy"] = "default-src 'none'; sandbox"
    response.headers["X-Content-Type-Options"] = "nosniff"
    patch_cache_control(response, private=True, max_age=PICTURE_SECONDS)
    return response


def stamp(batch: Batch) -> int:
    """Another one, where what is to be read is another."""
    return int(batch.started_at.timestamp()) if batch.started_at else 0


@lru_cache(maxsize=4)
def reading(pk: int, stamp: int) -> Any:
    """What reads the photos of a batch: the directory of a zip is looked at once for a page of them."""
    timer = threading.Timer(HELD_SECONDS, reading.cache_clear)
    timer.daemon = True
    timer.start()
    return reader(Batch.objects.get(pk=pk))


# --- what is done with it ---------------------------------------------------------------------------------------------
@login_required(login_url="login")
@require_POST
def perform(request: HttpRequest, pk: int, verb: str) -> HttpResponse:
    """`start`, `stop`, `resume` or `delete`."""
    try:
        one = changeable(request, pk, "delete" if verb == "delete" else "change")
        if verb == "delete":
            one.delete()
            return redirect("batch_pages")
        if verb == "start":
            start(one)
        elif verb == "stop":
            one.stop()  # where it has ended meanwhile its page says so
        elif verb == "resume":
            if not one.resume():
                raise Refused("wrong_state", f"This batch cannot go on: {why_not(one)}.")
        else:
            raise Http404
    except Refused as refusal:
        return problem_page(request, refusal.code, refusal.sentence)
    return redirect("batch_page", pk)
