"""What the measured quality of a model says to people: label by label, what it takes for what, how honest it is."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from classifier import evidence
from classifier.labels import display_name
from classifier.quality import Band, Quality, Rate, percent, rate
from classifier.spec import Spec

LISTED = 40  # pairs
GRID = 20  # labels, up to which what is taken for what fits into a grid
HEATS = 8  # shades of its cells
FEW = 20  # answers, fewer than which say little of a band

LABEL_HEADER = (
    *("label", "photos", "right", "recall", "recall_low", "recall_high"),
    *("answered", "precision", "precision_low", "precision_high"),
)
PAIR_HEADER = ("label", "answered", "photos", "of", "share", "low", "high")


@dataclass(frozen=True)
class LabelRow:
    """One label: how many of its photos are found, and how often its name is right when it is the answer."""

    label: str
    recall: Rate
    precision: Rate | None  # None where it was never the answer, or where nobody counted
    mistaken: tuple[str, int] | None  # what it is most often taken for, and how often


@dataclass(frozen=True)
class Pair:
    """Photos of one label for which another was answered, of all its photos."""

    label: str
    answered: str
    share: Rate


def label_rows(quality: Quality) -> list[LabelRow]:
    """Those that are right least often first, for there the next photos are needed."""
    answered = None if quality.confusion is None else quality.answered()
    rows = []
    for label, recall in quality.per_label.items():
        wrong = (quality.confusion or {}).get(label)
        rows.append(
            LabelRow(
                label=label,
                recall=recall,
                precision=None if answered is None else quality.precision(label, answered),
                mistaken=max(wrong.items(), key=lambda item: item[1]) if wrong else None,
            )
        )
    return sorted(rows, key=lambda row: (row.recall.value, row.label))


def pairs(quality: Quality) -> list[Pair]:
    """What is taken for what, the most frequent first."""
    found = [
        Pair(label, other, rate(count, quality.per_label[label].n))
        for label, wrong in (quality.confusion or {}).items()
        for other, count in wrong.items()
    ]
    return sorted(found, key=lambda pair: (-pair.share.correct, -pair.share.value, pair.label, pair.answered))


def grid(quality: Quality, labels: Sequence[str]) -> list[tuple[str, list[tuple[str, int, int]]]]:
    """A row for each label that has photos: each answer with its count and its shade, 0 for none to `HEATS`."""
    rows = []
    for label, recall in quality.per_label.items():
        counts = dict((quality.confusion or {})[label]) | {label: recall.correct}
        cells = [(other, counts.get(other, 0), shade(counts.get(other, 0), recall.n)) for other in labels]
        rows.append((label, cells))
    return rows


def shade(count: int, n: int) -> int:
    return -(-count * HEATS // n)  # rounded up: one photo shows


def telling(bands: Sequence[Band]) -> Band:
    """The band that says most of how honest the percentages are: the one nearest to 80 % with enough answers, or the
    one with the most."""
    enough = [band for band in bands if band.n >= FEW]
    return min(enough, key=lambda band: abs(band.confidence - 0.8)) if enough else max(bands, key=lambda band: band.n)


def page(spec: Spec, photos: str | None) -> dict[str, Any]:
    """What the page of a version shows; `photos` is where those behind the figures can be looked at."""
    quality = spec.quality
    assert quality is not None
    found = pairs(quality)
    return {
        "labels": [shown_label(row, photos) for row in label_rows(quality)],
        "counted": quality.confusion is not None,
        "pairs": [shown_pair(pair, photos) for pair in found[:LISTED]],
        "more_pairs": max(len(found) - LISTED, 0),
        "wrong": quality.n - quality.top1.correct,
        "grid": shown_grid(quality, spec.labels, photos) if quality.confusion and len(spec.labels) <= GRID else None,
        "bands": [shown_band(band) for band in quality.bands or ()],
        "telling": shown_band(telling(quality.bands)) if quality.bands else None,
        "photos": photos,
    }


def shown_label(row: LabelRow, photos: str | None) -> dict[str, Any]:
    return {
        "name": display_name(row.label),
        "photos": evidence.narrowed(photos, label=row.label),
        "recall": shown_rate(row.recall),
        "precision": row.precision and shown_rate(row.precision),
        "mistaken": row.mistaken and {"name": display_name(row.mistaken[0]), "count": row.mistaken[1]},
        "mistaken_photos": row.mistaken and evidence.narrowed(photos, label=row.label, answer=row.mistaken[0]),
    }


def shown_pair(pair: Pair, photos: str | None) -> dict[str, Any]:
    return {
        "label": display_name(pair.label),
        "answered": display_name(pair.answered),
        "photos": evidence.narrowed(photos, label=pair.label, answer=pair.answered),
        "share": shown_rate(pair.share),
    }


def shown_grid(quality: Quality, labels: Sequence[str], photos: str | None) -> dict[str, Any]:
    rows = [
        {
            "name": display_name(label),
            "cells": [
                {
                    "count": count,
                    "shade": shade,
                    "right": other == label,
                    "words": f"{display_name(label)}, answered {display_name(other)}",
                    "photos": evidence.narrowed(photos, label=label, answer=other) if count else None,
                }
                for other, count, shade in cells
            ],
        }
        for label, cells in grid(quality, labels)
    ]
    return {"answers": [display_name(label) for label in labels], "rows": rows}


def shown_band(band: Band) -> dict[str, Any]:
    return {
        "says": f"{100 * band.confidence:.0f}",
        "right": f"{100 * band.correct / band.n:.0f}",
        "share": shown_rate(rate(band.correct, band.n)),
    }


def shown_rate(rate: Rate) -> dict[str, Any]:
    """A share with the numbers behind it; `value` is for sorting."""
    return {
        "correct": rate.correct,
        "n": rate.n,
        "value": f"{rate.value:.6f}",
        "percent": percent(rate.value),
        "low": percent(rate.low),
        "high": percent(rate.high),
    }


def label_lines(quality: Quality) -> Iterator[list[Any]]:
    """Rows under LABEL_HEADER."""
    for row in label_rows(quality):
        line = [row.label, row.recall.n, *figures(row.recall)]
        yield line + ([row.precision.n, *figures(row.precision)[1:]] if row.precision else ["", "", "", ""])


def pair_lines(quality: Quality) -> Iterator[list[Any]]:
    """Rows under PAIR_HEADER."""
    for pair in pairs(quality):
        count, *share = figures(pair.share)
        yield [pair.label, pair.answered, count, pair.share.n, *share]


def figures(rate: Rate) -> list[Any]:
    return [rate.correct, *(round(value, 6) for value in (rate.value, rate.low, rate.high))]


TABLES: dict[str, tuple[Sequence[str], Callable[[Quality], Iterator[list[Any]]]]] = {
    "labels": (LABEL_HEADER, label_lines),
    "pairs": (PAIR_HEADER, pair_lines),
}
