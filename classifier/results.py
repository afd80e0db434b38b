"""What a batch found, as files that people and programs read: a table, JSON lines, and what competitions ask for."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np

TOP = 5  # labels a line
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # with these a table's cell begins to calculate


@dataclass(frozen=True)
class Row:
    """One photo. Where there was no answer (yet), `label` is empty and the numbers are None."""

    position: int  # from 0
    name: str
    status: str
    code: str
    sentence: str
    label: str
    probability: float | None  # of that label
    sure: bool | None
    animated: bool
    probabilities: np.ndarray | None  # (K,) in the order of the batch's labels


@dataclass(frozen=True)
class Found:
    """A whole batch, its rows in order, read once."""

    labels: Sequence[str]
    versions: Sequence[str]  # NAME:NUMBER, the best first
    combine: str
    rows: Iterable[Row]


def top(row: Row, labels: Sequence[str], count: int = TOP) -> list[tuple[str, float]]:
    """The most probable labels, best first; equal ones in label order."""
    if row.probabilities is None:
        return []
    order = np.argsort(-row.probabilities, kind="stable")[:count]
    return [(labels[index], float(row.probabilities[index])) for index in order]


def as_csv(found: Found) -> Iterator[str]:
    """A line for each photo: what it is, how sure that is, what else it may be, or why it cannot be used."""
    others = range(2, min(TOP, len(found.labels)) + 1)
    places = [f"{name}_{place}" for place in others for name in ("label", "probability")]
    yield line("position", "file", "status", "code", "detail", "label", "probability", "sure", *places, "version")
    version = " ".join(found.versions) if len(found.versions) == 1 else f"{found.combine} of {' '.join(found.versions)}"
    for row in found.rows:
        rest = [(label, p) for label, p in top(row, found.labels) if label != row.label][: len(others)]
        cells = [cell for label, p in rest for cell in (label, number(p))]
        yield line(
            *(row.position + 1, row.name, row.status, row.code, row.sentence, row.label, number(row.probability)),
            "" if row.sure is None else ("yes" if row.sure else "no"),
            *cells,
            *[""] * (len(places) - len(cells)),
            version,
        )


def as_json_lines(found: Found) -> Iterator[str]:
    """One JSON object for each photo, as `manage.py predict` writes it."""
    for row in found.rows:
        yield json.dumps(as_object(row, found)) + "\n"


def as_object(row: Row, found: Found) -> dict[str, Any]:
    if row.code:
        return {"file": row.name, "code": row.code, "detail": row.sentence}
    if row.probabilities is None:
        return {"file": row.name, "status": row.status}
    ranked = [{"label": label, "probability": probability} for label, probability in top(row, found.labels)]
    told: dict[str, Any] = {"file": row.name, "label": row.label, "probability": row.probability, "top": ranked}
    told |= {"sure": row.sure, "versions": list(found.versions)}
    if len(found.versions) > 1:
        told["combine"] = found.combine
    if row.animated:
        told["warning"] = "This picture is animated: only its first frame was looked at."
    return told


def as_categories(found: Found) -> Iterator[str]:
    """`id,category`: a photo's name without folder and ending, and its label; empty where there is no answer."""
    yield line("id", "category")
    for row in found.rows:
        yield line(identifier(row), row.label)


def as_probabilities(found: Found) -> Iterator[str]:
    """`id` and a column for each label, in alphabetical order as competitions have it."""
    order = sorted(range(len(found.labels)), key=lambda index: found.labels[index])
    yield line("id", *(found.labels[index] for index in order))
    for row in found.rows:
        given = row.probabilities
        yield line(identifier(row), *("" if given is None else f"{given[index]:.8g}" for index in order))


def identifier(row: Row) -> str:
    return PurePosixPath(row.name).stem


def number(value: float | None) -> str:
    return "" if value is None else f"{value:.6f}"


def line(*cells: object) -> str:
    """One line of a table. What would be a formula to a table's program gets an apostrophe in front, as those programs
    write a text that begins so (OWASP, "CSV injection")."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerow(
        [f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA) else cell for cell in cells]
    )
    return out.getvalue()


@dataclass(frozen=True)
class Format:
    """A kind of file."""

    title: str
    write: Callable[[Found], Iterator[str]]
    media_type: str
    suffix: str


FORMATS: dict[str, Format] = {
    "csv": Format("CSV", as_csv, "text/csv; charset=utf-8", ".csv"),
    "jsonl": Format("JSON lines", as_json_lines, "application/jsonl", ".jsonl"),
    "category": Format("CSV of id and category", as_categories, "text/csv; charset=utf-8", "-category.csv"),
    "probabilities": Format(
        "CSV of id and every label", as_probabilities, "text/csv; charset=utf-8", "-probabilities.csv"
    ),
}
