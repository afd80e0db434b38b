"""Photos in memory: read once through the same decoder as every prediction, kept as one uint8 tensor."""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from classifier.guard import Refused
from classifier.preprocess import Preprocessing, decode, square
from trainer import duplicates
from trainer.augment import augment, beside
from trainer.balance import order as balanced
from trainer.draws import Draws, generator
from trainer.ingest.record import Record
from trainer.recipe import Recipe

log = logging.getLogger(__name__)

Prepare = Callable[[Tensor, Draws], Tensor]  # a batch and where its draws come from -> what is learnt from


@dataclass(frozen=True)
class Photos:
    """Decoded photos with the index of their label."""

    pixels: Tensor  # uint8 (N, H, W, 3)
    labels: Tensor  # int64 (N,)
    label_count: int
    pinned: bool = False  # hand batches on in pinned memory, from which a GPU copies them while it computes

    def batches(self, recipe: Recipe, epoch: int, *, first: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """An epoch's photos in an order that depends on (seed, epoch), from the batch `first` (0, 1, ...) on: pixels
        (B, H, W, 3) and labels (B,).

        Every photo once, or drawn so that the labels are balanced (see trainer.balance.order). A last photo that would
        stand alone joins the batch before it, for batch norm finds no variance in one.
        """
        for indices in batch_indices(self.labels, recipe, epoch, first=first):
            pixels = self.pixels[beside(indices, self.pixels)]
            yield pixels.pin_memory() if self.pinned else pixels, self.labels[indices]

    def steps(self, batch_size: int) -> int:
        """Batches an epoch."""
        return batch_count(len(self.labels), batch_size)

    def inputs(self, recipe: Recipe, preprocessing: Preprocessing) -> Prepare:
        """What makes of a batch's pixels what the network learns from."""
        return prepare(recipe, preprocessing)


def prepare(recipe: Recipe, preprocessing: Preprocessing) -> Prepare:
    """uint8 (B, H, W, 3) -> changed at random and normalized, float32 (B, 3, S, S)."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (preprocessing.mean, preprocessing.std))
    return lambda pixels, draws: (augment(pixels, recipe, draws) - beside(mean, pixels)) / beside(std, pixels)


def batch_indices(labels: Tensor, recipe: Recipe, epoch: int, *, first: int = 0) -> Iterator[Tensor]:
    """The indices of an epoch's batches, from the batch `first` on: see `Photos.batches`."""
    order = balanced(labels, recipe.balance, generator(recipe.seed, epoch))
    count = batch_count(len(labels), recipe.batch_size)
    for step in range(first, count):
        yield order[step * recipe.batch_size : None if step == count - 1 else (step + 1) * recipe.batch_size]


def batch_count(count: int, batch_size: int) -> int:
    """Batches an epoch of so many photos."""
    alone = 1 < batch_size < count and count % batch_size == 1
    return -(-count // batch_size) - alone


@dataclass(frozen=True)
class Survey:
    """The records that decode, with what tells duplicates, and the others with the reason."""

    records: list[Record]
    fingerprints: list[duplicates.Fingerprint]
    unreadable: dict[str, str]  # name -> sentence


def survey(records: Iterable[Record]) -> Survey:
    """Decode every record once."""
    readable, fingerprints, unreadable = [], [], {}
    for record in records:
        try:
            picture = decode(record.read())
        except Refused as refused:
            unreadable[record.name] = str(refused)
            log.warning("%s is left out: %s", record.name, refused)
            continue
        readable.append(record)
        fingerprints.append(duplicates.fingerprint(picture))
    return Survey(readable, fingerprints, unreadable)


def load(records: Sequence[Record], labels: Sequence[str], preprocessing: Preprocessing) -> Photos:
    """Decode `records` and square them; `labels` are all labels in the order of the network's outputs."""
    numbers = {label: number for number, label in enumerate(labels)}
    pixels = np.empty((len(records), preprocessing.crop, preprocessing.crop, 3), np.uint8)
    for index, record in enumerate(records):
        pixels[index] = square(decode(record.read(), shorter_side=preprocessing.resize), preprocessing)
    return Photos(
        pixels=torch.from_numpy(pixels),
        labels=torch.tensor([numbers[record.label] for record in records], dtype=torch.int64),
        label_count=len(labels),
    )
