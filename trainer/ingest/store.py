"""The photos of a source, decoded once in sandboxes and kept as files that are named by their content."""

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from classifier.decoding import Decoders
from classifier.guard import Limits, Refused
from classifier.look import THUMBNAIL_SIDE, Look
from classifier.sandbox import Sandbox
from trainer.duplicates import Fingerprint, of_look
from trainer.ingest.record import Record

SUFFIXES = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp"}


@dataclass(frozen=True, slots=True)
class Photo:
    """A photo that is kept."""

    name: str  # in the source
    label: str
    part: str | None  # as the source divides it
    sha256: bytes  # of the file
    suffix: str
    bytes: int
    width: int
    height: int
    fingerprint: Fingerprint


@dataclass(frozen=True, slots=True)
class Unreadable:
    """One that is not, and why."""

    name: str
    label: str
    code: str
    sentence: str


def keep(
    records: Iterable[Record], folder: Path, *, count: int, sandboxes: int, limits: Limits = Limits()
) -> Iterator[Photo | Unreadable]:
    """Reads every record once, in order, and writes those that decode to `<folder>/<aa>/<sha256>.<suffix>`.

    A few photos are in memory at a time; the thumbnails of all `count` lie in a file of the folder, which can be
    deleted when nobody compares them any more. Raises what `read` raises for a source that is damaged, and OSError
    where the disk is full.
    """
    folder.mkdir(parents=True)
    thumbnails = _thumbnails(folder / "thumbnails", count)
    with Decoders(sandboxes, limits) as decoders:
        for place, (record, outcome) in enumerate(decoders.in_order(records, _look)):
            if isinstance(outcome, Refused):
                yield Unreadable(record.name, record.label, outcome.code, outcome.sentence)
                continue
            data, look = outcome
            digest = hashlib.sha256(data)
            _write(folder / digest.hexdigest()[:2], f"{digest.hexdigest()}{SUFFIXES[look.format]}", data)
            thumbnails[place] = look.thumbnail
            yield Photo(
                name=record.name,
                label=record.label,
                part=record.part,
                sha256=digest.digest(),
                suffix=SUFFIXES[look.format],
                bytes=len(data),
                width=look.width,
                height=look.height,
                fingerprint=of_look(look.pixels, thumbnails[place]),
            )


def _thumbnails(file: Path, count: int) -> np.ndarray:
    """uint8 (count, 32, 32) in a file whose place on the disk is taken now: a full disk met later would be a SIGBUS."""
    with file.open("wb") as opened:
        os.posix_fallocate(opened.fileno(), 0, max(count, 1) * THUMBNAIL_SIDE**2)
    return np.asarray(np.memmap(file, np.uint8, "r+", shape=(max(count, 1), THUMBNAIL_SIDE, THUMBNAIL_SIDE)))


def _write(folder: Path, name: str, data: bytes) -> None:
    folder.mkdir(exist_ok=True)
    if not (folder / name).exists():  # the same file twice is kept once
        (folder / name).write_bytes(data)


def _look(sandbox: Sandbox, record: Record) -> tuple[bytes, Look]:
    data = record.read()
    return data, sandbox.look(data)
