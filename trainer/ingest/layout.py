"""Which file is a photo of which label: the ways in which people lay out their datasets, recognised and stated."""

import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from classifier.guard import Refused
from classifier.sources.listing import Listing, SourceError
from trainer.ingest import table
from trainer.ingest.record import Record, is_photo, is_text

Path = tuple[str, ...]
PART_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
MAX_LABEL = 200  # letters
MOST_NOTES = 5  # on tables: some sets have one for each photo


@dataclass(frozen=True)
class Layout:
    """The photos of a source with their labels, and what was recognised."""

    sentence: str
    records: list[Record]
    outside: list[str]  # photos that have no label here
    notes: tuple[str, ...]
    empty: list[str]  # labels whose folder holds no photo
    unread: Sequence[str] = ()  # files that are not taken for photos, and what was not looked into

    @property
    def supplied_parts(self) -> bool:
        """Whether the source divides its photos itself."""
        return any(record.part for record in self.records)


def recognise(listing: Listing, rename: Mapping[str, str] | None = None) -> Layout:
    """Find the layout of a source; `rename` gives labels other names than their folders. Raises SourceError."""
    photos = {path: read for path, read in listing.files.items() if is_photo(path)}
    if not photos:
        raise SourceError(f"{listing.title} holds no photo (JPEG, PNG or WebP).", "no_images")
    top = _top(photos)
    sentence, placed, unclear = _by_table(listing.files, photos)
    if not placed:
        sentence, by_folder = _by_folders([path[len(top) :] for path in photos], listing.title, unclear)
        placed = {(*top, *path): said for path, said in by_folder.items()}
    labels = {label for label, _ in placed.values()}
    renamed = {label: clean_label((rename or {}).get(label, label)) for label in sorted(labels)}

    def name(path: Path) -> str:
        return "/".join(path[len(top) :] if path[: len(top)] == top else path)

    records = [Record(name(path), renamed[label], photos[path], part) for path, (label, part) in sorted(placed.items())]
    around = f" The folder {'/'.join(top)} around them was passed through." if top else ""
    return Layout(
        sentence=sentence + around,
        records=records,
        outside=[name(path) for path in sorted(photos.keys() - placed.keys())],
        notes=(*listing.notes, *unclear, *_notes(renamed, rename or {})),
        empty=_empty(listing.folders, placed, top),
        unread=sorted(map(name, [*listing.closed, *(path for path in listing.files if passed_over(path))])),
    )


def passed_over(path: Path) -> bool:
    """Whether a file is neither read nor expected to be."""
    return not is_photo(path) and not is_text(path)


def _top(photos: Iterable[Path]) -> Path:
    """The single folders around all photos, where at least one folder is left under these."""
    left, top = list(photos), []
    while len({path[0] for path in left}) == 1 and all(len(path) > 2 for path in left):
        if left[0][0].lower() in PART_NAMES:
            break
        top.append(left[0][0])
        left = [path[1:] for path in left]
    return tuple(top)


Labelled = dict[Path, tuple[str, str | None]]  # photo -> label and part


def _by_table(files: Mapping[Path, Callable[[], bytes]], photos: Iterable[Path]) -> tuple[str, Labelled, list[str]]:
    """Labels from a CSV file beside the photos, where one of its columns names them; and sentences on the files that
    name photos and do not tell their labels."""
    index = table.Index(photos)
    unclear = []
    for path in sorted(
        (path for path in files if path[-1].lower().endswith(".csv")), key=lambda path: (len(path), path)
    ):
        name = "/".join(path)
        try:
            found = table.placed(files[path](), index)
        except Refused as refused:
            raise SourceError(f"{name}: {refused}", refused.code) from refused
        except table.Unclear as sentence:
            unclear.append(f"{name} {sentence}")
            continue
        if found:
            return *_told(name, found), []
    return "", {}, unclear[:MOST_NOTES]


def _told(name: str, found: table.Placed) -> tuple[str, Labelled]:
    parts = {PART_NAMES.get((part or "").strip().lower()) for _, part in found.rows.values()}
    divided = None not in parts and "train" in parts
    by = f", divided by {found.part_column!r}" if divided else ""
    sentence = (
        f"Labels from {name}: the column {found.label_column!r} for the photo that {found.photo_column!r} names{by}."
    )
    if found.missing:
        sentence += f" {len(found.missing)} of its rows name no photo here, such as {found.missing[0]!r}."
    return sentence, {
        photo: (label, PART_NAMES[str(part).strip().lower()] if divided else None)
        for photo, (label, part) in found.rows.items()
    }


def _by_folders(photos: list[Path], title: str, unclear: list[str]) -> tuple[str, Labelled]:
    """Labels from the names of folders; raises SourceError with a sentence of `unclear` where these tell nothing."""
    divided = {path: PART_NAMES[path[0].lower()] for path in photos if path[0].lower() in PART_NAMES and len(path) == 3}
    if "train" in divided.values():
        parts = Counter(divided.values())
        sentence = "Class folders within folders of parts: " + ", ".join(
            f"{part} {parts[part]}" for part in dict.fromkeys(PART_NAMES.values()) if parts[part]
        )
        return sentence + ".", {path: (path[1], part) for path, part in divided.items()}
    placed: Labelled = {path: (path[0], None) for path in photos if len(path) == 2}
    labels = {label for label, _ in placed.values()}
    if unclear and (len(labels) < 2 or {label.lower() for label in labels} <= PART_NAMES.keys()):
        raise SourceError(unclear[0])
    if not placed:
        raise SourceError(
            f"{title} holds no class folder: put the photos of each label into a folder of its name, "
            "or a CSV file with the columns path and label beside them.",
            "no_images",
        )
    return "Class folders: each folder is named by its label.", placed


def _empty(folders: Iterable[Path], placed: Labelled, top: Path) -> list[str]:
    """The class folders without a photo, where folders are what names the labels."""
    deep = {len(path) for path in placed}
    if any(path[-2:-1] != (label,) for path, (label, _) in placed.items()) or len(deep) != 1:
        return []
    labels = {label for label, _ in placed.values()}
    beside = (path for path in folders if len(path) == max(deep) - 1 and path[: len(top)] == top)
    return sorted({path[-1] for path in beside if path[-1] not in labels})


def clean_label(text: str) -> str:
    """A label as it is kept: in one spelling, without spaces at its ends. Raises SourceError."""
    label = unicodedata.normalize("NFC", text).strip()
    if not label or label in (".", "..") or any(unicodedata.category(letter)[0] == "C" for letter in label):
        raise SourceError(f"The label {text!r} is not a name.", "bad_class_name")
    if len(label) > MAX_LABEL:
        raise SourceError(f"The label {label[:40]!r}… is longer than {MAX_LABEL} letters.", "bad_class_name")
    return label


def _notes(renamed: Mapping[str, str], rename: Mapping[str, str]) -> list[str]:
    notes = []
    if rename:
        used = sorted(name for name in rename if name in renamed)
        notes.append(f"{len(used)} of {len(renamed)} labels were renamed by the table.")
        if unused := sorted(set(rename) - set(used)):
            notes.append(f"{len(unused)} names of the table occur nowhere, such as {unused[0]!r}.")
    folded: dict[str, str] = {}
    for label in sorted(set(renamed.values())):
        if (twin := folded.setdefault(label.casefold(), label)) != label:
            notes.append(f"The labels {twin!r} and {label!r} differ in capitals alone, and are kept apart.")
    return notes
