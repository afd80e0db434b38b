"""The page for people: a photo in, names out, with JavaScript or without it."""

from dataclasses import dataclass
from typing import Any

from django.apps import apps
from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_safe

from classifier import examples
from classifier.labels import display_name
from classifier.predictor import Identity
from classifier.spec import Quality, Spec

EXAMPLE_SECONDS = 300  # how long a browser keeps an example: the operator may put another under the same number


def example_pictures() -> list[bytes]:
    """What the operator put on the empty page. Photos of the active version's own dataset will be a second source."""
    return examples.gather(examples.from_folder(settings.EXAMPLES_DIR))


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
        "top1": f"{100 * top1.value:.1f}\u00a0%",
        "low": f"{100 * top1.low:.1f}",
        "high": f"{100 * top1.high:.1f}\u00a0%",
        "top5": f"{100 * quality.top5.value:.1f}\u00a0%",
    }


def percent(share: float, digits: int = 0) -> str:
    """A probability for people: 0.973 -> "97 %", but never "100 %" or "0 %". static/js/result.js writes the same."""
    step = 10.0**-digits
    if 100 * share > 100 - step / 2:
        return f">\u2009{100 - step:.{digits}f}\u00a0%"
    if 100 * share < step / 2:
        return f"<\u2009{step:.{digits}f}\u00a0%"
    return f"{100 * share:.{digits}f}\u00a0%"


@require_http_methods(["GET", "HEAD"])
def index(request: HttpRequest) -> HttpResponse:
    return page(request)


def page(request: HttpRequest, *, status: int = 200, **shown: Any) -> HttpResponse:
    """The whole page; `shown` has an `answer` or a `problem` where a photo was asked about."""
    resident = apps.get_app_config("classifier").predictor.current
    context: dict[str, Any] = {"card": None, "max_megabytes": f"{settings.MAX_IMAGE_BYTES / 1024**2:g}", **shown}
    if resident:
        card = Card(resident.identity, resident.spec)
        context |= {
            "card": card,
            "api_url": request.build_absolute_uri(reverse("predict")),
            "examples": range(1, len(example_pictures()) + 1),
            "page_data": {
                "predict_url": reverse("predict"),
                "max_bytes": settings.MAX_IMAGE_BYTES,
                "digest": card.version.digest,
                "labels": [{"label": label, "name": display_name(label)} for label in card.spec.labels],
            },
        }
    return render(request, "index.html", context, status=status)


@require_safe
def example(request: HttpRequest, number: int) -> HttpResponse:
    pictures = example_pictures()
    if not 1 <= number <= len(pictures):
        raise Http404
    response = HttpResponse(pictures[number - 1], content_type="image/jpeg")
    response.headers["Content-Security-Policy"] = "default-src 'none'; sandbox"
    response.headers["Cache-Control"] = f"private, max-age={EXAMPLE_SECONDS}"
    return response
