"""Labels from a CSV file: one of its columns names photos that are there, another one says what is on them."""

import csv
import io
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from classifier.sources.listing import SourceError
from trainer.ingest.record import PHOTO_SUFFIXES

# Where the cells leave a choice, names decide, the first before the others; letters and digits of a name count alone.
PHOTO_COLUMNS = (
    *("path", "filepath", "image_path", "file", "filename", "image", "image_name", "image_id", "img", "photo"),
    *("name", "id"),
)
LABEL_COLUMNS = (
    *("label", "labels", "breed", "class", "category", "species", "target", "class_name", "label_name", "variety"),
    *("class_id", "label_id"),
)
PART_COLUMNS = ("part", "split", "subset", "set", "data_set")
LEAST_FOUND = 0.5  # of the rows: fewer photos found, and the column is about something else
FEW_LABELS = 5  # any table may have so many, a larger one half as many as photos: other words are no labels

Path = tuple[str, ...]


@dataclass(frozen=True)
class Placed:
    """What a table says of the photos that it names."""

    photo_column: str
    label_column: str
    part_column: str
    rows: dict[Path, tuple[str, str | None]]  # photo -> label, part as it is written
    missing: list[str]  # what it names and is not there


class Unclear(ValueError):
    """A table that names photos, and does not tell which of its columns is their label."""


def placed(data: bytes, index: "Index") -> Placed | None:
    """What a CSV file says of photos; None where it names none of them. Raises Unclear, and SourceError for a photo
    with two labels.
    """
    rows = read(data)
    heads = [plain(cell) for cell in rows[0]] if rows else []
    if len(heads) < 2 or (photo := _photo_column(rows, heads, index)) is None:
        return None
    if headed := index.find(rows[0][photo]) is None:
        names = rows[0]
    else:  # the first row names a photo already
        names, heads = [f"column {number}" for number, _ in enumerate(heads, start=1)], ["" for _ in heads]
    part = _named(heads, PART_COLUMNS)
    body = rows[1:] if headed else rows
    label = _label_column(body, heads, names, photo, part, index)
    found: dict[Path, tuple[str, str | None]] = {}
    missing = []
    for row in body:
        if len(row) <= max(photo, label):
            continue
        if (path := index.find(row[photo])) is None:
            missing.append(row[photo].strip())
            continue
        said = row[label].strip(), row[part] if part is not None and len(row) > part else None
        if found.setdefault(path, said) != said:
            raise SourceError(f"The table of labels says two things of {'/'.join(path)}.", "label_conflict")
    if not found:
        return None
    return Placed(names[photo], names[label], "" if part is None else names[part], found, missing)


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
    if any("\0" in cell for row in rows for cell in row):  # PostgreSQL takes none
        raise SourceError("The renaming table has a character that no name may have.")
    return {row[0].strip(): row[1].strip() for row in rows}


class Index:
    """Finds a photo by what a table calls it: a path or the end of one, or a bare name; with its suffix or without.
    Where several photos are called so, the only one to train on is meant."""

    def __init__(self, photos: Iterable[Path]) -> None:
        self.whole: dict[str, Path] = {}
        self.bare: dict[str, list[Path]] = defaultdict(list)
        for path in photos:
            for name in {"/".join(path), _stem("/".join(path))}:
                self.whole[name] = path
            for name in {path[-1], _stem(path[-1])}:
                self.bare[name].append(path)

    def find(self, name: str) -> Path | None:
        name = name.strip().replace("\\", "/").removeprefix("./")
        if name in self.whole:
            return self.whole[name]
        *folders, bare = name.split("/")
        candidates = self.bare.get(bare, [])
        if folders:
            candidates = [path for path in candidates if list(path[:-1][-len(folders) :]) == folders]
        if len(candidates) > 1:  # the Kaggle layout has train/ and test/ of the same names now and then
            candidates = [path for path in candidates if {"train", "training"} & {part.lower() for part in path[:-1]}]
        return candidates[0] if len(candidates) == 1 else None


def plain(head: str) -> str:
    """`Image Path`, `image-path` -> `image_path`."""
    return re.sub(r"[\W_]+", "_", head.strip().lower()).strip("_")


def _photo_column(rows: list[list[str]], heads: list[str], index: Index) -> int | None:
    """The column that names most photos, where most of its cells do."""
    counts = {}
    for column in range(len(heads)):
        found = [index.find(row[column]) for row in rows if len(row) > column]
        if found[1:].count(None) <= (1 - LEAST_FOUND) * (len(found) - 1) and any(found):
            counts[column] = len(set(found) - {None})
    most = [column for column, count in counts.items() if count == max(counts.values())]
    known = _named([heads[column] for column in most], PHOTO_COLUMNS)
    return next(iter(most), None) if known is None else most[known]


def _label_column(
    body: list[list[str]], heads: list[str], names: list[str], photo: int, part: int | None, index: Index
) -> int:
    """The column of the labels: one of a known name, or the only other one, where it gives each photo one of a few
    words. Raises Unclear."""
    if (known := _named(heads, LABEL_COLUMNS)) is not None and known != photo:
        return known
    others = [column for column in range(len(heads)) if column not in (photo, part)]
    if len(others) == 1:
        other = others[0]
        said = {(index.find(row[photo]), row[other].strip()) for row in body if len(row) > max(other, photo)}
        photos, words = [one for one, _ in said if one], {word for one, word in said if one}
        if 2 <= len(words) <= max(len(photos) / 2, FEW_LABELS) and len(set(photos)) == len(photos):
            return other
    raise Unclear(
        f"names photos ({names[photo]!r}), and does not tell which of its columns is their label"
        f" ({', '.join(repr(names[column]) for column in others)}): give that one of the "
        f"names {', '.join(LABEL_COLUMNS)}."
    )


def _named(heads: Sequence[str], names: Sequence[str]) -> int | None:
    return next((heads.index(name) for name in names if name in heads), None)


def _stem(name: str) -> str:
    stem, dot, suffix = name.rpartition(".")
    return stem if dot + suffix.lower() in PHOTO_SUFFIXES else name
