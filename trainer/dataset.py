"""Photos divided for training: surveyed, grouped by duplicates, split, with one fingerprint for all of it."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass

from trainer import duplicates
from trainer.data import survey
from trainer.ingest.record import Record
from trainer.report import MAX_UNREADABLE
from trainer.split import PARTS, fingerprint, split

log = logging.getLogger(__name__)


class DatasetError(ValueError):
    """Photos that must be mended before anything is trained on them; the sentence says what is wrong."""


@dataclass(frozen=True)
class Dataset:
    """The labels in the order of the network's outputs, and the records of each part."""

    labels: tuple[str, ...]
    train: list[Record]
    validation: list[Record]
    test: list[Record]
    fingerprint: str  # SHA-256 of pixels, labels and parts
    unreadable: dict[str, str]  # name -> sentence
    near_duplicates: int  # photos that stay with an earlier one

    def answers(self, records: list[Record]) -> list[int]:
        """The index of the right label of each record."""
        return [self.labels.index(record.label) for record in records]


def prepare(records: Iterable[Record], *, seed: int) -> Dataset:
    """Read every record and divide them 80/10/10. Raises DatasetError, SplitError or SourceError."""
    surveyed = survey(records)
    total = len(surveyed.records) + len(surveyed.unreadable)
    if len(surveyed.unreadable) > MAX_UNREADABLE * total:
        name, reason = next(iter(surveyed.unreadable.items()))
        raise DatasetError(
            f"{len(surveyed.unreadable)} of {total} photos cannot be read, the first is {name}: {reason} "
            "Remove or replace them."
        )
    contents = [one.pixels for one in surveyed.fingerprints]
    labels = [record.label for record in surveyed.records]
    if len(set(labels)) < 2:
        raise DatasetError("A dataset needs the photos of two labels at least.")
    groups = duplicates.groups(surveyed.fingerprints)
    parts = split(contents, labels, groups=groups, seed=seed)
    by_part: dict[str, list[Record]] = {part: [] for part in PARTS}
    for record, part in zip(surveyed.records, parts, strict=True):
        by_part[part].append(record)
    dataset = Dataset(
        labels=tuple(sorted(set(labels))),
        **by_part,
        fingerprint=fingerprint(contents, labels, parts),
        unreadable=surveyed.unreadable,
        near_duplicates=sum(group != index for index, group in enumerate(groups)),
    )
    log.info(
        "%d labels; %s; %d near duplicates kept beside their first; %d unreadable",
        len(dataset.labels),
        ", ".join(f"{part} {len(by_part[part])}" for part in PARTS),
        dataset.near_duplicates,
        len(dataset.unreadable),
    )
    return dataset
