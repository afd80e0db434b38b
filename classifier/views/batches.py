"""The page of all one's batches: photos are sent, and what was asked before is listed."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods, require_safe
from rest_framework.request import Request

from breedsite.access import Session
from breedsite.body import JsonView
from breedsite.errors import ProblemPage, problem_page
from breedsite.waiting import waiting
from classifier.api.asked import Wanted, number
from classifier.api.batch_json import counts_of
from classifier.api.batches import begin
from classifier.ensemble import Combine
from classifier.models import Batch, ModelVersion
from classifier.models.batch import MOST_FILES
from classifier.models.outlook import eta_seconds
from classifier.parsers import BatchFormParser
from classifier.problems import Refused
from classifier.sources.offered import offered
from classifier.uploads import MAX_BYTES, PIECE_BYTES

PAGE = 20  # batches
OFFERED = 100  # versions to choose from


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
