"""Labels from a CSV file: `id,breed` beside `train/`, or any columns that name a photo and its label."""

import csv
import io
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from trainer.ingest.record import PHOTO_SUFFIXES, SourceError

PHOTO_COLUMNS = ("path", "file", "filename", "file_name", "image", "image_id", "img", "photo", "name", "id")
LABEL_COLUMNS = ("label", "breed", "class", "category", "species", "target", "class_name", "label_name", "variety")
PART_COLUMNS = ("part", "split", "subset", "set")
LEAST_FOUND = 0.5  # of the rows: fewer photos found, and the file is about something else

Path = tuple[str, ...]


@dataclass(frozen=True)
class Placed:
    """What a table says of the photos that it names."""

    photo_column: str
    label_column: str
    part_column: str
    rows: dict[Path, tuple[str, str | None]]  # photo -> label, part as it is written
    missing: list[str]  # what it names and is not there


def placed(data: bytes, photos: Iterable[Path]) -> Placed | None:
    """What a CSV file says of `photos`; None where it is no table of their labels. Raises SourceError for a photo
    with two labels.
    """
    rows = read(data)
    if len(rows) < 2:
        return None
    heads = [cell.strip().lower() for cell in rows[0]]
    photo, label, part = (_column(heads, names) for names in (PHOTO_COLUMNS, LABEL_COLUMNS, PART_COLUMNS))
    if photo is None or label is None:
        return None
    index = Index(photos)
    found: dict[Path, tuple[str, str | None]] = {}
    missing = []
    for row in rows[1:]:
        if len(row) <= max(photo, label):
            continue
        if (path := index.find(row[photo].strip())) is None:
            missing.append(row[photo].strip())
            continue
        said = row[label].strip(), row[part] if part is not None and len(row) > part else None
        if found.setdefault(path, said) != said:
            raise SourceError(f"The table of labels says two things of {'/'.join(path)}.", "label_conflict")
    if len(found) < LEAST_FOUND * (len(found) + len(missing)) or not found:
        return None
    return Placed(rows[0][photo], rows[0][label], rows[0][part] if part is not None else "", found, missing)


def read(data: bytes) -> list[list[str]]:
    """The rows of a CSV file whose cells are divided by commas, semicolons or tabs."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("cp1252", errors="replace")
    first = text.partition("\n")[0]
    divider = max(",;\t", key=first.count)
    try:
        return [row for row in csv.reader(io.StringIO(text), delimiter=divider) if row]
    except csv.Error as error:
        raise SourceError(f"A CSV file in it cannot be read ({error}).") from error


def renaming(data: bytes) -> dict[str, str]:
    """A table of two columns, the name of a folder and its label; a first row `from,to` or `folder,label` is passed
    over. Raises SourceError.
    """
    rows = read(data)
    if rows and [cell.strip().lower() for cell in rows[0]] in (["from", "to"], ["folder", "label"]):
        rows = rows[1:]
    if not rows or any(len(row) != 2 for row in rows):
        raise SourceError("The renaming table needs two columns: the name of a folder, and its label.")
    return {row[0].strip(): row[1].strip() for row in rows}


class Index:
    """Finds a photo by what a table calls it: its path, its path without suffix, or its bare name where one photo
    alone bears it."""

    def __init__(self, photos: Iterable[Path]) -> None:
        self.whole: dict[str, Path] = {}
        self.bare: dict[str, list[Path]] = defaultdict(list)
        for path in photos:
            for name in {"/".join(path), _stem("/".join(path))}:
                self.whole[name] = path
            for name in {path[-1], _stem(path[-1])}:
                self.bare[name].append(path)

    def find(self, name: str) -> Path | None:
        name = name.replace("\\", "/").removeprefix("./")
        if name in self.whole:
            return self.whole[name]
        candidates = self.bare.get(name.rpartition("/")[2], [])
        if len(candidates) > 1:  # the Kaggle layout has train/ and test/ of the same names now and then
            candidates = [path for path in candidates if path[0].lower() in ("train", "training")]
        return candidates[0] if len(candidates) == 1 else None


def _column(heads: Sequence[str], names: Sequence[str]) -> int | None:
    return next((heads.index(name) for name in names if name in heads), None)


def _stem(name: str) -> str:
    stem, dot, suffix = name.rpartition(".")
    return stem if dot + suffix.lower() in PHOTO_SUFFIXES else name
