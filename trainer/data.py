"""Photos in memory: read once through the same decoder as every prediction, kept as one uint8 tensor."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from classifier.guard import Refused
from classifier.preprocess import Preprocessing, decode, square
from trainer import duplicates
from trainer.augment import generator
from trainer.ingest.record import Record

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Photos:
    """Decoded photos with the index of their label."""

    pixels: Tensor  # uint8 (N, H, W, 3)
    labels: Tensor  # int64 (N,)
    label_count: int

    def batches(self, batch_size: int, seed: int, epoch: int, *, first: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Every photo once, in an order that depends on (seed, epoch), from the batch `first` (0, 1, ...) on: pixels
        (B, H, W, 3) and labels (B,)."""
        order = torch.randperm(len(self.labels), generator=generator(seed, epoch))
        for indices in order.split(batch_size)[first:]:
            yield self.pixels[indices], self.labels[indices]

    def steps(self, batch_size: int) -> int:
        """Batches an epoch."""
        return -(-len(self.labels) // batch_size)


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
