"""Small trainings by one process or by several: `python -m tests.together RANK SIZE FILE OUT`.

Each process makes all of CASES, one after the other, and writes what it knows at the end of each to OUT-RANK.
"""

import dataclasses
import math
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from classifier.preprocess import Preprocessing
from tests.photos import make_records
from trainer.dataset import Dataset, prepare
from trainer.fit import Fit
from trainer.group import ALONE, Group, join
from trainer.recipe import Recipe

LABELS = ("chow", "pug", "samoyed")
SMALL = Preprocessing(resize=8, crop=8)
RECIPE = Recipe(
    photo_size=8, image_size=8, epochs=3, batch_size=8, learning_rate=0.01, head_learning_rate=0.02, average=0.5,
    batch_norm="trained",
)  # fmt: skip


class Tiny(nn.Module):
    """Its parameters lie in memory as a GPU's do: the last dimension of a kernel is not the nearest."""

    def __init__(self, norm: nn.Module | None = None) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3), norm or nn.Identity(), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU())
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))
        self.unused = nn.Linear(2, 2)  # as the second heads of some networks

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(images))


@dataclass(frozen=True)
class Case:
    """One training; `fault` befalls the last process of a group, or the one there is, in its third step."""

    changes: dict[str, Any] = field(default_factory=dict)
    count: int = 10  # photos of each label
    norm: bool = False
    fault: str = ""


CASES = {
    "plain": Case(),
    "mixed": Case({"mixup": 0.4, "cutmix": 1.0, "randaugment_operations": 2, "label_smoothing": 0.2}),
    "in parts": Case({"optimizer": "sgd", "schedule": "one-cycle", "accumulation": 3, "clip_value": 0.01}),
    "weighted": Case({"balance": "weights", "average": 0.0, "patience": 1, "epochs": 6}),
    "a last batch of two": Case({"batch_size": 11, "crop_padding": 2, "balance": "oversampling"}),  # 24 train
    "one skipped step": Case(fault="gradient"),
    "too little memory": Case({"batch_size": 12}, fault="memory"),
    "batch norm": Case({"epochs": 8, "batch_size": 32}, count=120, norm=True),
    "batch norm, at rest": Case(
        {"learning_rate": 0, "head_learning_rate": 0, "average": 0.0, "batch_size": 11}, norm=True
    ),
    "batch norm, skipped": Case({"optimizer": "sgd"}, norm=True, fault="gradient"),
}


def photos(count: int) -> Dataset:
    return prepare(make_records(LABELS, count), seed=1)


def make(case: Case, group: Group, work: Path) -> Iterator[dict[str, Any]]:
    """What one process knows after each epoch."""
    torch.manual_seed(0)
    net = Tiny(nn.BatchNorm2d(8) if case.norm else None)
    recipe = dataclasses.replace(RECIPE, **case.changes)
    fit = Fit(net, photos(case.count), recipe, SMALL, work=work, group=group)
    if case.fault and group.rank == group.size - 1:
        befall(fit, case.fault)
    for one in fit.epochs():
        weights = {name: tensor.clone() for name, tensor in fit.training.kept().state_dict().items()}
        yield one.as_dict() | {"weights": weights, "parts": fit.training.parts, "files": len(list(work.iterdir()))}


def befall(fit: Fit, fault: str) -> None:
    """A gradient that is not finite, or no memory for a batch in one part."""
    done = [0]

    def no_number(gradient: torch.Tensor) -> torch.Tensor:
        done[0] += 1
        return gradient * math.nan if done[0] == 3 else gradient

    def no_memory(*_: Any) -> None:
        done[0] += 1
        if done[0] == 3:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    if fault == "gradient":
        next(fit.training.net.parameters()).register_hook(no_number)
    else:
        fit.training.net.register_forward_hook(no_memory)


def all_cases(group: Group = ALONE) -> dict[str, list[dict[str, Any]]]:
    found = {}
    for name, case in CASES.items():
        with tempfile.TemporaryDirectory() as work:
            found[name] = list(make(case, group, Path(work)))
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    rank, size = int(sys.argv[1]), int(sys.argv[2])
    members = join(rank, size, rendezvous=Path(sys.argv[3])) if size > 1 else ALONE
    torch.save(all_cases(members), f"{sys.argv[4]}-{rank}")
