"""The photos of a dataset as a grid: by label, part and flag, a page at a time, however many there are.

Pages follow the primary key (`?after=`), never an offset: the last page costs what the first does, and an index answers
every combination of filters.
"""

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse
from django.utils.cache import patch_cache_control

from breedsite.errors import problem_page
from classifier.preprocess import thumbnail
from classifier.problems import Refused
from trainer.ingest.record import SourceError
from trainer.models import Dataset, Photo
from trainer.models.dataset import read

PAGE = 60  # photos
SIDE = 160  # pixels of a thumbnail
FLAGS = {
    "conflict": "under two labels",
    "crossing": "in more than one part",
    "copy": "there already, to the pixel",
    "near": "nearly another one",
}


@dataclass(frozen=True)
class Filters:
    """What a person wants to see; empty for all."""

    label: str = ""
    part: str = ""
    flag: str = ""

    @classmethod
    def of(cls, request: HttpRequest) -> "Filters":
        asked = (request.GET.get(name, "") for name in ("label", "part", "flag"))
        return cls(*(text.replace("\0", "") for text in asked))  # PostgreSQL takes no NUL

    @property
    def chosen(self) -> dict[str, str]:
        return {name: value for name, value in vars(self).items() if value}

    def address(self, **place: int) -> str:
        """The query of a page of these photos."""
        return f"?{urlencode(self.chosen | place)}"


def page(dataset: Dataset, request: HttpRequest) -> dict[str, Any]:
    """What the grid shows: the photos after or before a place, and where to go from there."""
    filters = Filters.of(request)
    photos = dataset.photos.filter(**filters.chosen)
    before, after = (number(request.GET.get(name, "")) for name in ("before", "after"))
    if before is not None:
        found = list(photos.filter(pk__lt=before).order_by("-pk")[: PAGE + 1])
        shown = found[:PAGE][::-1]
        is_first, is_last = len(found) <= PAGE, False
    else:
        found = list(photos.filter(pk__gt=after or 0).order_by("pk")[: PAGE + 1])
        shown = found[:PAGE]
        is_first, is_last = after is None, len(found) <= PAGE
    return {
        "photos": shown,
        "filters": filters,
        "earlier": "" if is_first or not shown else filters.address(before=shown[0].pk),
        "later": "" if is_last or not shown else filters.address(after=shown[-1].pk),
        "labels": dataset.labels,
        "parts": Photo.Part.values,
        "flags": FLAGS,
        "side": SIDE,
    }


def number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else None


def picture(request: HttpRequest, dataset: Dataset, photo: Photo) -> HttpResponse:
    """A fresh small JPEG of a photo, decoded as every photo is: nothing of the file is passed on but its pixels."""
    try:
        data = thumbnail(read(photo.file(dataset.path), photo.sha256, photo.name), SIDE)
    except (Refused, SourceError) as error:
        return problem_page(request, "not_found", str(error))
    response = HttpResponse(data, content_type="image/jpeg")
    response.headers["Content-Security-Policy"] = "default-src 'none'; sandbox"
    response.headers["X-Content-Type-Options"] = "nosniff"
    patch_cache_control(response, private=True, max_age=31536000, immutable=True)  # a photo never changes
    return response
