"""What was measured of a model, on photos that training never saw: shares with intervals, what it takes for what.

Part of `spec.json` (see classifier.spec). Which photo was taken for which label is optional, and so is how honest the
probabilities were: models that were made before these were measured have neither.
"""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from classifier.fields import Fields

WILSON_Z = 1.959964  # 95 %
TENTHS = 11  # bands of probability, around 0 %, 10 %, ... 100 %


@dataclass(frozen=True)
class Rate:
    """How many of n were right, with the 95 % Wilson interval."""

    n: int
    correct: int
    low: float  # 0..1
    high: float

    @property
    def value(self) -> float:
        return self.correct / self.n

    @classmethod
    def from_fields(cls, fields: Fields, n: int) -> "Rate":
        rate = cls(
            n=n,
            correct=fields.integer("correct", 0, n),
            low=fields.number("low", 0, 1),
            high=fields.number("high", 0, 1),
        )
        if not rate.low - 1e-9 <= rate.value <= rate.high + 1e-9:
            raise fields.refuse("low", f"at most correct / n = {rate.value:.4f}, and high at least that")
        if "value" in fields.value and abs(fields.number("value", 0, 1) - rate.value) > 5e-4:
            raise fields.refuse("value", f"correct / n = {rate.value:.4f}")
        return rate

    def as_dict(self) -> dict[str, Any]:
        return {"value": self.value, "correct": self.correct, "low": self.low, "high": self.high}


def rate(correct: int, n: int) -> Rate:
    """So many of n, with its 95 % Wilson interval (Wilson 1927, doi:10.1080/01621459.1927.10502953)."""
    z2 = WILSON_Z**2
    centre = (correct + z2 / 2) / (n + z2)
    spread = WILSON_Z / (n + z2) * math.sqrt(correct * (n - correct) / n + z2 / 4)
    return Rate(n=n, correct=correct, low=max(centre - spread, 0.0), high=min(centre + spread, 1.0))


def in_words(rate: Rate) -> str:
    """88.1 % of 900 (86.0 to 90.1)"""
    return f"{percent(rate.value)} % of {rate.n} ({percent(rate.low)} to {percent(rate.high)})"


def percent(share: float) -> str:
    """Of what was counted: 0.881 -> "88.1". For a probability see `labels.chance`."""
    return f"{100 * share:.1f}"


@dataclass(frozen=True)
class Band:
    """The answers that said about the same probability, rounded to a tenth, and how many of them were right."""

    n: int
    correct: int
    confidence: float  # 0..1, what they said on average

    @classmethod
    def from_fields(cls, fields: Fields) -> "Band":
        n = fields.integer("n", 1, 10**9)
        return cls(n, fields.integer("correct", 0, n), fields.number("confidence", 0, 1))


Confusion = Mapping[str, Mapping[str, int]]  # right label -> label that was answered instead -> photos


@dataclass(frozen=True)
class Quality:
    """Sums over photos. `confusion` holds wrong answers alone; None where nobody counted them."""

    split: str
    n: int
    top1: Rate
    top5: Rate
    loss: float
    per_label: Mapping[str, Rate]
    confusion: Confusion | None = None
    bands: tuple[Band, ...] | None = None

    @classmethod
    def from_fields(cls, fields: Fields, labels: tuple[str, ...]) -> "Quality":
        n = fields.integer("n", 1, 10**9)
        top1 = Rate.from_fields(fields.fields("top1"), n)
        entries = [Fields(value, fields.path("per_label[]")) for value in fields.items("per_label")]
        per_label = {entry.text("label"): Rate.from_fields(entry, entry.integer("n", 1, n)) for entry in entries}
        if not set(per_label) <= set(labels):
            raise fields.refuse("per_label", "about the labels of this model")
        if per_label and sum(rate.correct for rate in per_label.values()) != top1.correct:
            raise fields.refuse("per_label", f"{top1.correct} right answers in all, as top1 says")
        return cls(
            split=fields.text("split"),
            n=n,
            top1=top1,
            top5=Rate.from_fields(fields.fields("top5"), n),
            loss=fields.number("loss", 0),
            per_label=per_label,
            confusion=read_confusion(entries, per_label, labels),
            bands=read_bands(fields, n, top1.correct),
        )

    def as_dict(self) -> dict[str, Any]:
        document: dict[str, Any] = {
            "split": self.split,
            "n": self.n,
            "top1": self.top1.as_dict(),
            "top5": self.top5.as_dict(),
            "loss": self.loss,
            "per_label": [
                {"label": label, "n": rate.n, "correct": rate.correct, "low": rate.low, "high": rate.high}
                for label, rate in self.per_label.items()
            ],
        }
        if self.confusion is not None:
            for entry in document["per_label"]:
                entry["answered"] = dict(self.confusion.get(entry["label"], {}))
        if self.bands is not None:
            document["bands"] = [vars(band).copy() for band in self.bands]
        return document

    def answered(self) -> Counter[str]:
        """How often each label was the answer, right or wrong. Only where the wrong answers were counted."""
        assert self.confusion is not None
        counts = Counter({label: rate.correct for label, rate in self.per_label.items()})
        for wrong in self.confusion.values():
            counts.update(wrong)
        return counts

    def precision(self, label: str, answered: Counter[str]) -> Rate | None:
        """How often the answer `label` was right; None where it was never given."""
        right = self.per_label[label].correct if label in self.per_label else 0
        return rate(right, answered[label]) if answered[label] else None


def read_confusion(entries: list[Fields], per_label: Mapping[str, Rate], labels: tuple[str, ...]) -> Confusion | None:
    """What each label was taken for, where every label says so."""
    if not entries or not all("answered" in entry.value for entry in entries):
        return None
    confusion = {}
    for entry in entries:
        label = entry.text("label")
        wrong = entry.fields("answered")
        counts = {other: wrong.integer(other, 1, per_label[label].n) for other in wrong.value}
        if label in counts or not set(counts) <= set(labels):
            raise entry.refuse("answered", "about the other labels of this model")
        if sum(counts.values()) != per_label[label].n - per_label[label].correct:
            raise entry.refuse("answered", "as many photos as were not right")
        confusion[label] = counts
    return confusion


def read_bands(fields: Fields, n: int, correct: int) -> tuple[Band, ...] | None:
    """How honest the probabilities were, where somebody looked."""
    if "bands" not in fields.value:
        return None
    bands = tuple(
        Band.from_fields(Fields(value, fields.path("bands[]"))) for value in fields.items("bands", least=1, most=TENTHS)
    )
    if sum(band.n for band in bands) != n or sum(band.correct for band in bands) != correct:
        raise fields.refuse("bands", f"about {n} answers, {correct} of them right")
    return bands
