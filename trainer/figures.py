"""What a training tells of itself: its steps, its epochs, and the sums in between."""

import dataclasses
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass
class Sums:
    """What the steps of the epoch under way have brought so far."""

    steps: int = 0
    loss: float = 0.0  # times photos learnt from
    right: int = 0  # of those
    learnt: int = 0  # photos of the steps that were not skipped
    seen: int = 0  # photos of all steps
    skipped: int = 0  # steps whose gradient was not finite
    seconds: float = 0.0
    trail: list[list[float]] = dataclasses.field(default_factory=list)  # [step, learning rate, loss] of some steps


@dataclass(frozen=True)
class Step:
    """One step: its number in the epoch (1, 2, ...), its loss (NaN where it was skipped) and its learning rate."""

    epoch: int
    number: int
    loss: float
    learning_rate: float


@dataclass(frozen=True)
class Epoch:
    """What one pass over the training photos brought. Loss and accuracy are means over the photos of the steps that
    were not skipped (NaN where all were); accuracy is on augmented photos, by the moving weights."""

    number: int  # 1, 2, ...
    loss: float
    accuracy: float  # 0..1
    learning_rate: float  # at the end
    skipped_steps: int  # their gradient was not finite
    seconds: float
    images_per_second: float
    trail: list[list[float]]  # [step, learning rate, loss] of some steps


def finite(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The same for JSON, which knows neither infinities nor NaN: they become null."""
    return {name: None if isinstance(one, float) and not math.isfinite(one) else one for name, one in facts.items()}


class Unread:
    """Figures of steps that lie on the device still: each look waits until it has done all that it was told."""

    def __init__(self) -> None:
        self.figures: list[Tensor] = []  # loss and right answers of each step
        self.facts: list[tuple[int, float]] = []  # photos, learning rate
        self.began = time.monotonic()

    def __len__(self) -> int:
        return len(self.facts)

    def add(self, loss: Tensor, right: Tensor, photos: int, rate: float) -> None:
        """One step: tensors () of its loss and right answers."""
        self.figures += [loss.double(), right.double()]
        self.facts.append((photos, rate))

    def read(self) -> list[tuple[float, int, int, float, float]]:
        """Loss, right answers, photos, seconds and learning rate of each step, which are forgotten."""
        if not self.facts:
            return []
        figures = torch.stack(self.figures).view(-1, 2).tolist()
        seconds = (time.monotonic() - self.began) / len(figures)
        read = [
            (loss, int(right), photos, seconds, rate)
            for (loss, right), (photos, rate) in zip(figures, self.facts, strict=True)
        ]
        self.figures, self.facts = [], []
        return read
