"""The page for people: a photo in, names out, with JavaScript or without it."""

import base64
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods, require_safe
from rest_framework.request import Request

from breedsite.errors import ProblemPage
from classifier import examples
from classifier.api import PredictImage, config, may_predict, photo, predictor
from classifier.guard import Limits
from classifier.labels import chance, display_name, verdict
from classifier.parsers import PhotoFormParser
from classifier.predictor import Identity, Prediction
from classifier.quality import Quality, percent
from classifier.spec import Spec

TOP = 5  # bars
PHOTO_SIDE = 640  # pixels of the copy that a result without JavaScript shows
EXAMPLE_SECONDS = 24 * 3600  # how long a browser keeps an example: under its id there is never another


def example_pictures() -> dict[str, bytes]:
    """What the operator put on the empty page, then the photos ticked in the dataset of the version that answers."""
    return examples.gather(examples.from_folder(settings.EXAMPLES_DIR), config().examples)


@dataclass(frozen=True)
class Card:
    """What the page says about the version that answers."""

    version: Identity
    spec: Spec

    @property
    def names(self) -> list[str]:
        return [display_name(label) for label in self.spec.labels]

    @property
    def first(self) -> str:
        return min(self.names)

    @property
    def last(self) -> str:
        return max(self.names)

    @property
    def quality(self) -> dict[str, str] | None:
        return None if self.spec.quality is None else in_words(self.spec.quality)

    @property
    def seen(self) -> str | None:
        """Which of the photos its backbone had seen before: said beside the accuracy, for it flatters."""
        return self.spec.origin.get("backbone_has_seen_the_photos")

    @property
    def intended_use(self) -> str | None:
        return self.spec.origin.get("intended_use")

    @property
    def not_for(self) -> list[str]:
        return self.spec.origin.get("not_for", [])


def in_words(quality: Quality) -> dict[str, str]:
    top1 = quality.top1
    return {
        "n": f"{quality.n:,}",
        "split": quality.split,
        "top1": f"{percent(top1.value)}\u00a0%",
        "low": percent(top1.low),
        "high": f"{percent(top1.high)}\u00a0%",
        "top5": f"{percent(quality.top5.value)}\u00a0%",
    }


class Ask(PredictImage):
    """The form without JavaScript. Who may ask, how often, and what is refused: all as the API does it."""

    parser_classes = [PhotoFormParser]

    def post(self, request: Request) -> HttpResponse:  # type: ignore[override] # DRF passes any HttpResponse on
        example = request.POST.get("example")
        data = photo(request)[0] if example is None else example_picture(example)
        answer = predictor().predict(data, thumbnail_side=PHOTO_SIDE)
        return page(request._request, answer=shown(answer))

    def handle_exception(self, exception: Exception) -> HttpResponse:  # type: ignore[override]
        refusal = super().handle_exception(exception)
        if not isinstance(refusal, ProblemPage):
            return refusal
        response = page(self.request._request, status=refusal.status_code, problem=refusal.context)
        for name in refusal.headers:
            response.headers[name] = refusal.headers[name]
        return response


@csrf_exempt  # nothing changes here; who is signed in is asked for the token all the same, by the API's own rule
@require_http_methods(["GET", "HEAD", "POST"])
def index(request: HttpRequest) -> HttpResponse:
    return Ask.as_view()(request) if request.method == "POST" else page(request)


def example_picture(id: str) -> bytes:
    """Raises Http404 for everything but the id of an example."""
    pictures = example_pictures()
    if id not in pictures:
        raise Http404
    return pictures[id]


def shown(answer: Prediction) -> dict[str, Any]:
    """What result.html draws. The photo comes back as a small copy within the page, for nothing of it is kept."""
    assert answer.thumbnail
    copy = base64.b64encode(answer.thumbnail).decode()
    ranked = answer.top(len(answer.labels))
    return {
        "message": verdict(answer.label, sure=answer.sure),
        "sure": answer.sure,
        "warning": answer.warning,
        "photo": f"data:image/jpeg;base64,{copy}",
        "top": [{"name": display_name(label), "value": f"{p:.4f}", "percent": chance(p)} for label, p in ranked[:TOP]],
        "all": [{"name": display_name(label), "percent": chance(p, 1)} for label, p in ranked],
        "version": answer.identity,
        "elapsed_ms": 1000 * answer.elapsed_seconds,
        "device": answer.device,
    }


def address(request: HttpRequest) -> str:
    """This server's own, for programs: in production what SITE_URL says, for a proxy may hide https; else as asked."""
    return settings.SITE_URL if settings.PRODUCTION else request.build_absolute_uri("/").rstrip("/")


def limits_in_words(limits: Limits) -> dict[str, str]:
    """What a photo may be."""
    return {
        "megabytes": f"{round(limits.max_bytes / 1024**2, 2):g}",
        "megapixels": f"{limits.max_pixels / 1e6:g}",
        "webp_megapixels": f"{min(limits.max_pixels, limits.max_webp_pixels) / 1e6:g}",
        "min_side": f"{limits.min_side:,}",
        "max_side": f"{limits.max_side:,}",
        "max_aspect": f"{limits.max_aspect:g}",
    }


def page(request: HttpRequest, *, status: int = 200, **shown: Any) -> HttpResponse:
    """The whole page; `shown` has an `answer` or a `problem` where a photo was asked about."""
    resident = predictor().current
    context: dict[str, Any] = {"card": None, "may_ask": may_predict(request), **shown}
    if resident:
        card = Card(resident.identity, resident.spec)
        context |= {
            "card": card,
            "limits": limits_in_words(predictor().limits),
            "api_url": address(request) + reverse("predict"),
            "examples": list(example_pictures()),
            "page_data": {
                "predict_url": reverse("predict"),
                "max_bytes": settings.MAX_IMAGE_BYTES,
                "digest": card.version.digest,
                "labels": [{"label": label, "name": display_name(label)} for label in card.spec.labels],
            },
        }
    return render(request, "index.html", context, status=status)


@require_safe
def example(request: HttpRequest, id: str) -> HttpResponse:
    response = HttpResponse(example_picture(id), content_type="image/jpeg")
    response.headers["Content-Security-Policy"] = "default-src 'none'; sandbox"
    response.headers["Cache-Control"] = f"private, max-age={EXAMPLE_SECONDS}"
    return response
