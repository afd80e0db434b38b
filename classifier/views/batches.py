"""The pages of batches: photos are sent, their answers watched, looked through and taken away."""

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
from django.urls import reverse
from django.utils.cache import patch_cache_control
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods, require_POST, require_safe
from rest_framework.request import Request

from breedsite.access import Session
from breedsite.body import JsonView
from breedsite.errors import ProblemPage, problem_page
from breedsite.waiting import waiting
from classifier.api.asked import Filters, Wanted, number
from classifier.api.batch_json import counts_of
from classifier.api.batches import begin, changeable, seen, why_not
from classifier.ensemble import Combine
from classifier.guard import Limits
from classifier.labels import chance, display_name, verdict
from classifier.models import Batch, BatchItem, ModelVersion
from classifier.models.batch import MOST_FILES
from classifier.models.outlook import eta_seconds
from classifier.models.predicting import reader
from classifier.models.receiving import start
from classifier.parsers import BatchFormParser
from classifier.preprocess import thumbnail
from classifier.problems import PROBLEMS, Refused
from classifier.results import FORMATS, top
from classifier.sources.listing import SourceError
from classifier.sources.offered import offered
from classifier.uploads import MAX_BYTES, PIECE_BYTES

PAGE = 20  # batches
GRID = 48  # photos
SIDES = {"small": 320, "large": 1024}  # pixels of the copies that are shown
PICTURE_SECONDS = 3600  # how long a browser keeps them
HELD_SECONDS = 60.0  # how long a zip stays open for the next photo of a page: a removed one takes room until then
OFFERED = 100  # versions to choose from
SHOWS = {"answered": "answered", "unsure": "not sure", "refused": "cannot be used", "pending": "not yet"}
decoding = threading.BoundedSemaphore(max(1, settings.CORES // 2))  # a photo of 50 megapixels takes 150 MB meanwhile


# --- all of one's own, and a new one ----------------------------------------------------------------------------------
class Send(JsonView):
    """The form without JavaScript. What is taken and what is refused: as the API does it."""

    authentication_classes = [Session]
    scopes = {"POST": "predict"}
    parser_classes = [BatchFormParser]

    def post(self, request: Request) -> HttpResponse:
        batch = begin(request, Wanted.of(request))
        return redirect("batch_page", batch.pk)

    def handle_exception(self, exc: Exception) -> HttpResponse:  # type: ignore[override] # as views.Ask has it
        refusal = super().handle_exception(exc)
        if not isinstance(refusal, ProblemPage) or refusal.status_code in (401, 403):
            return refusal
        return page(self.request._request, status=refusal.status_code, problem=refusal.context)


@login_required(login_url="login")
@require_safe
def listed(request: HttpRequest) -> HttpResponse:
    try:
        return page(request, after=number(request.GET, "after"))
    except Refused as refusal:
        return problem_page(request, refusal.code, refusal.sentence)


@csrf_exempt  # a POST is asked for its token by the API's own rule, for it is read by the API's own parser
@require_http_methods(["GET", "HEAD", "POST"])
def batches(request: HttpRequest) -> HttpResponse:
    return Send.as_view()(request) if request.method == "POST" else listed(request)


def page(request: HttpRequest, *, status: int = 200, after: int | None = None, **shown: Any) -> HttpResponse:
    """The form, and one's own batches below it; `shown` has a `problem` where something was refused."""
    own = Batch.objects.filter(created_by=request.user.pk).order_by("-pk").prefetch_related("versions")
    found = list((own if after is None else own.filter(pk__lt=after))[: PAGE + 1])
    counts = counts_of(found[:PAGE])
    context = {
        "lines": [line(batch, counts[batch.pk]) for batch in found[:PAGE]],
        "later": f"?after={found[PAGE - 1].pk}" if len(found) > PAGE else "",
        "first": after is None,
        "families": families(),
        "combines": [one.value for one in Combine],
        "server": offered(settings.DATASETS_SOURCE_DIRS) if request.user.is_staff else [],
        "sending": sending(),
        "limits": limits(),
        **shown,
    }
    return render(request, "batches.html", context, status=status)


def sending() -> dict[str, Any]:
    """What a page that sends photos has to know, and to say."""
    return {
        "max_bytes": settings.MAX_IMAGE_BYTES,
        "request_bytes": settings.PREDICT_BODY_BYTES,
        "piece_bytes": PIECE_BYTES,
        "zip_bytes": MAX_BYTES,
        "most_files": MOST_FILES,
        "url": reverse("batches"),
    }


def limits() -> dict[str, str]:
    """The same in words."""
    mega = 1024**2
    return {
        "each": f"{round(settings.MAX_IMAGE_BYTES / mega, 2):g} MB",
        "request": f"{round(settings.PREDICT_BODY_BYTES / mega, 2):g} MB",
        "zip": f"{MAX_BYTES / 1024**3:g} GB",
        "files": f"{MOST_FILES:,}",
    }


def families() -> list[dict[str, Any]]:
    """The versions that may be chosen: those that know the same labels together, the active one's first."""
    found: dict[tuple[str, ...], list[ModelVersion]] = {}
    for version in ModelVersion.objects.order_by("-is_active", "-created_at", "-pk")[:OFFERED]:
        labels = version.spec.get("labels") if isinstance(version.spec, dict) else None
        if labels:  # a damaged row is left out
            found.setdefault(tuple(sorted(map(str, labels))), []).append(version)
    return [{"labels": len(labels), "versions": versions} for labels, versions in found.items()]


def line(batch: Batch, counts: dict[str, int]) -> dict[str, Any]:
    """A batch in few words."""
    total = batch.progress_total or sum(counts.values())
    done = counts["answered"] + counts["refused"]
    return {"batch": batch, "counts": counts, "total": total, "done": done, "words": words(batch, counts, total)}


def words(batch: Batch, counts: dict[str, int], total: int) -> str:
    """Where it stands, as a sentence."""
    match batch.status:
        case Batch.Status.RECEIVING:
            return f"Waiting for photos; {counted(total)} came." if total else "Waiting for photos."
        case Batch.Status.QUEUED:
            return waiting(batch) or "Waiting for a worker."
        case Batch.Status.LISTING:
            return "Looking what is there …"
        case Batch.Status.PREDICTING:
            return f"{counts['answered'] + counts['refused']:,} of {counted(total)}{left(eta_seconds(batch))}"
    refused = f", {counts['refused']:,} cannot be used" if counts["refused"] else ""
    if batch.status == Batch.Status.FINISHED:
        return f"{counts['answered']:,} answered{refused}."
    done = f"{counts['answered']:,} of {counted(total)} answered{refused}" if total else "nothing was answered"
    return f"{batch.get_status_display().capitalize()}: {done}."


def counted(count: int) -> str:
    return "1 photo" if count == 1 else f"{count:,} photos"


def left(seconds: float | None) -> str:
    """static/js/batch.js says the same."""
    if seconds is None:
        return ""
    if seconds < 1.5:
        return ", about a second left"
    if seconds < 90:
        return f", about {round(seconds)} seconds left"
    return (
        f", about {round(seconds / 60)} minutes left" if seconds < 5400 else f", about {seconds / 3600:.1f} hours left"
    )


# --- one of them ------------------------------------------------------------------------------------------------------
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
