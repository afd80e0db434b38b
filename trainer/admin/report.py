"""The report of an import, as its page shows it and as other programs read it."""

import csv
import io
from collections.abc import Callable, Iterator
from itertools import chain, islice
from typing import Any

from django.http import JsonResponse, StreamingHttpResponse

from classifier.tables import cell
from trainer.models import Dataset

COLUMNS = ("name", "label", "part", "flag", "excluded", "example", "width", "height", "bytes", "sha256")  # of a photo
BLOCK = 1000  # rows in memory at a time

LISTS = {"labels", "unreadable", "conflicts", "crossing", "groups", "outside"}  # of a report, at least


def problems(report: dict[str, Any]) -> list[dict[str, Any]]:
    """The lists of a report that have something in them, each with a title and lines to show."""
    if not report:
        return []

    def joined(pairs: list[list[str]]) -> str:
        return " · ".join(f"{name} ({word})" for name, word in pairs)

    lists: list[tuple[str, dict[str, Any], Callable[[Any], str]]] = [
        ("Cannot be read", report["unreadable"], lambda one: f"{one[0]}: {one[2]}"),
        ("Under two labels", report["conflicts"], joined),
        ("In more than one part", report["crossing"], joined),
        ("The same picture, or nearly", report["groups"], " · ".join),
        ("Without a label in this layout", report["outside"], str),
        ("Not read", report.get("unread", {"count": 0, "listed": []}), str),  # reports of long ago have none
    ]
    return [
        {"title": title, "count": found["count"], "lines": [line(one) for one in found["listed"]]}
        for title, found, line in lists
        if found["count"]
    ]


def json_of(dataset: Dataset) -> JsonResponse:
    """All that is known of a dataset, without its photos, as a file."""
    names = ("status", "failure", "source_kind", "source_name", "options", "fingerprint", "labels", "counts", "report")
    document = {"dataset": str(dataset)} | {name: getattr(dataset, name) for name in names}
    headers = {"Content-Disposition": f'attachment; filename="{dataset.name}-{dataset.number}.json"'}
    return JsonResponse(document, json_dumps_params={"indent": 1, "ensure_ascii": False}, headers=headers)


def csv_of(dataset: Dataset) -> StreamingHttpResponse:
    """Its photos as a file, a row each."""
    headers = {"Content-Disposition": f'attachment; filename="{dataset.name}-{dataset.number}-photos.csv"'}
    return StreamingHttpResponse(photo_table(dataset), content_type="text/csv; charset=utf-8", headers=headers)


def photo_table(dataset: Dataset) -> Iterator[str]:
    """A first row of names, and one for each photo, in pieces."""
    photos = dataset.photos.order_by("pk").values_list(*COLUMNS).iterator(chunk_size=BLOCK)
    rows = chain([COLUMNS], photos)
    while block := list(islice(rows, BLOCK)):
        out = io.StringIO()
        csv.writer(out).writerows([cell(value) for value in row] for row in block)
        yield out.getvalue()
