"""The next version of a dataset after a person relabelled photos or left some out: nothing is decoded anew."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from trainer import report
from trainer.duplicates import Fingerprint
from trainer.ingest.store import Photo as Kept
from trainer.models.dataset import Dataset, Photo

ROWS = 1000  # read and inserted at a time
NO_THUMBNAIL = np.empty((0, 0), np.uint8)  # duplicates are grouped already


def edited(dataset: Dataset, parent: Dataset, staging: Path) -> tuple[report.Content, Iterator[list[Photo]]]:
    """The parent's photos with the changes of `dataset.options`, their files linked into `staging`, and their rows.

    Photos that are left out keep a row, so that they can be taken in again.
    """
    staging.mkdir(parents=True)
    kept: list[Kept] = []
    groups: list[int] = []
    parts: list[str] = []
    before: set[tuple[str, str]] = set()
    for photo in parent.photos.order_by("pk").iterator(chunk_size=ROWS):
        if not photo.excluded:
            before.add((photo.label, photo.part))
        changed(photo, dataset)
        link(photo, parent.path, staging)
        if not photo.excluded:
            kept.append(as_kept(photo))
            groups.append(photo.group)
            parts.append(photo.part)
    count = len(dataset.options["changes"])
    sentence = f"{parent} with {count} photo{'' if count == 1 else 's'} relabelled or left out."
    content = report.revise(sentence, kept, groups, parts, before=before)
    return content, rows(dataset, parent, content)


def changed(photo: Photo, dataset: Dataset) -> None:
    """The photo as the person wants it."""
    change = dataset.options["changes"].get(str(photo.pk), {})
    photo.label = change.get("label", photo.label)
    photo.excluded = change.get("excluded", photo.excluded)
    photo.example = photo.example and not photo.excluded


def link(photo: Photo, source: Path, target: Path) -> None:
    """One file, two names: it takes no room, and stays when either dataset goes."""
    file = photo.file(target)
    file.parent.mkdir(exist_ok=True)
    if not file.exists():
        os.link(photo.file(source), file)


def as_kept(photo: Photo) -> Kept:
    return Kept(
        name=photo.name,
        label=photo.label,
        part=None,
        sha256=bytes.fromhex(photo.sha256),
        suffix=photo.suffix,
        bytes=photo.bytes,
        width=photo.width,
        height=photo.height,
        fingerprint=Fingerprint(bytes.fromhex(photo.pixels), int(photo.phash, 16), 0, NO_THUMBNAIL),
    )


def rows(dataset: Dataset, parent: Dataset, content: report.Content) -> Iterator[list[Photo]]:
    """Copies of the parent's rows in their order, with what the changes made of them."""
    flags = iter(content.flags)
    batch: list[Photo] = []
    for photo in parent.photos.order_by("pk").iterator(chunk_size=ROWS):
        changed(photo, dataset)
        photo.flag = "" if photo.excluded else next(flags)
        photo.pk = None  # a new row
        photo.dataset = dataset
        photo._state.adding = True
        batch.append(photo)
        if len(batch) == ROWS:
            yield batch
            batch = []
    yield batch
