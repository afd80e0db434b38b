"""The photos of a dataset as a grid: by label, part and flag, a page at a time, however many there are.

Pages follow the primary key (`?after=`), never an offset: the last page costs what the first does, and an index answers
every combination of filters. With `?run=` they follow what that run's version answered (trainer.admin.suspects).
"""

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import numpy as np
from django.http import HttpRequest, HttpResponse
from django.utils.cache import patch_cache_control

from breedsite.errors import problem_page
from classifier.examples import MOST
from classifier.preprocess import thumbnail
from classifier.problems import Refused
from classifier.sources.listing import SourceError
from trainer.admin import suspects
from trainer.models import Dataset, Photo, TrainingRun
from trainer.models.dataset import read

PAGE = 60  # photos
SIDE = 160  # pixels of a thumbnail
FLAGS = {
    "conflict": "under two labels",
    "crossing": "in more than one part",
    "copy": "there already, to the pixel",
    "near": "nearly another one",
    "example": "an example on the front page",
}


@dataclass(frozen=True)
class Filters:
    """What a person wants to see; empty for all."""

    label: str = ""
    part: str = ""
    flag: str = ""
    run: str = ""
    answer: str = ""  # of that run

    @classmethod
    def of(cls, request: HttpRequest) -> "Filters":
        asked = (request.GET.get(name, "") for name in ("label", "part", "flag", "run", "answer"))
        return cls(*(text.replace("\0", "") for text in asked))  # PostgreSQL takes no NUL

    @property
    def chosen(self) -> dict[str, str]:
        return {name: value for name, value in vars(self).items() if value}

    @property
    def fields(self) -> dict[str, Any]:
        """What the rows have: a photo that is an example may have a flag too."""
        own = {name: value for name, value in self.chosen.items() if name in ("label", "part", "flag")}
        if self.flag == "example":
            del own["flag"]
            return own | {"example": True}
        return own

    def address(self, **place: int) -> str:
        """The query of a page of these photos."""
        return f"?{urlencode(self.chosen | place)}"


def page(dataset: Dataset, request: HttpRequest) -> dict[str, Any]:
    """What the grid shows: the photos after or before a place, and where to go from there."""
    filters = Filters.of(request)
    before, after = (number(request.GET.get(name, "")) for name in ("before", "after"))
    runs = suspects.runs(dataset)
    run = next((run for run in runs if str(run.pk) == filters.run), None)
    gone = ""
    try:
        if filters.run and run is None:
            raise suspects.Gone(f"What run {filters.run} answered to these photos is not known.")
        shown, first, last = (
            as_answered(dataset, run, filters, before, after) if run else by_key(dataset, filters, before, after)
        )
    except suspects.Gone as error:
        shown, first, last, gone = [], None, None, str(error)
    return {
        "photos": shown,
        "filters": filters,
        "run": run,
        "runs": runs,
        "gone": gone,
        "earlier": "" if first is None else filters.address(before=first),
        "later": "" if last is None else filters.address(after=last),
        "labels": dataset.known_labels,
        "parts": Photo.Part.values,
        "flags": FLAGS,
        "most_examples": MOST,
        "examples": dataset.photos.examples().count(),
        "side": SIDE,
    }


Page = tuple[list[Photo], int | None, int | None]  # and the places before and after which there are others


def by_key(dataset: Dataset, filters: Filters, before: int | None, after: int | None) -> Page:
    """As they were imported."""
    photos = dataset.photos.filter(**filters.fields)
    if before is not None:
        found = list(photos.filter(pk__lt=before).order_by("-pk")[: PAGE + 1])
        shown = found[:PAGE][::-1]
        is_first, is_last = len(found) <= PAGE, False
    else:
        found = list(photos.filter(pk__gt=after or 0).order_by("pk")[: PAGE + 1])
        shown = found[:PAGE]
        is_first, is_last = after is None, len(found) <= PAGE
    return shown, None if is_first or not shown else shown[0].pk, None if is_last or not shown else shown[-1].pk


def as_answered(dataset: Dataset, run: TrainingRun, filters: Filters, before: int | None, after: int | None) -> Page:
    """In the order of what the run's version answered. Raises suspects.Gone."""
    rows = suspects.rows(run)
    flagged = filters.fields.keys() & {"flag", "example"}
    only = list(dataset.photos.filter(**filters.fields).values_list("pk", flat=True)) if flagged else None
    places = suspects.places(dataset, rows, filters.chosen, only)
    if before is not None:
        some = places[: np.searchsorted(places, before)][-PAGE:]
    else:
        some = places[np.searchsorted(places, -1 if after is None else after, side="right") :][:PAGE]
    shown = suspects.photos(dataset, rows, some)
    if not len(some):
        return shown, None, None
    first, last = int(some[0]), int(some[-1])
    return shown, first if places[0] < first else None, last if places[-1] > last else None


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
