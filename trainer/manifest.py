"""A divided dataset as a file, for a process that knows no database: one line of JSON a photo.

{"file": "/data/ab/ab01.jpg", "sha256": "ab01...", "label": "pug", "part": "train", "name": "pug/7.jpg", "photo": 12}
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from classifier.sources.listing import SourceError
from trainer.ingest.record import Record
from trainer.split import PARTS


@dataclass(frozen=True)
class Entry:
    """One photo of a manifest."""

    file: str
    sha256: str  # of the file
    label: str
    part: str
    name: str  # as in its source, for messages
    photo: int = 0  # its primary key, for whoever has a database


def write(file: Path, entries: Iterable[Entry]) -> None:
    """Write a manifest in the order given, which is the order of training."""
    with file.open("w", encoding="utf-8") as out:
        for entry in entries:
            out.write(json.dumps(asdict(entry), ensure_ascii=False) + "\n")


def read(file: Path) -> dict[str, list[Record]]:
    """The records of each part. A photo is read when it is needed, and refused when its bytes are not those that were
    imported: SourceError names it."""
    parts: dict[str, list[Record]] = {part: [] for part in PARTS}
    with file.open(encoding="utf-8") as lines:
        for line in lines:
            entry = Entry(**json.loads(line))
            parts[entry.part].append(Record(entry.name, entry.label, partial(photo, entry)))
    return parts


def photos(file: Path) -> dict[str, list[int]]:
    """The primary keys of the photos of each part, in the order of `read`."""
    parts: dict[str, list[int]] = {part: [] for part in PARTS}
    with file.open(encoding="utf-8") as lines:
        for line in lines:
            entry = Entry(**json.loads(line))
            parts[entry.part].append(entry.photo)
    return parts


def photo(entry: Entry) -> bytes:
    """The bytes of a photo, unchanged since its import."""
    try:
        data = Path(entry.file).read_bytes()
    except FileNotFoundError as error:
        raise SourceError(
            f"The photo {entry.name} is gone from the dataset's folder: import the dataset anew."
        ) from error
    if hashlib.sha256(data).hexdigest() != entry.sha256:
        raise SourceError(f"The photo {entry.name} has changed since it was imported: import the dataset anew.")
    return data
