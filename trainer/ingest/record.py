"""What every source of photos yields: one record a photo, read when it is needed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

PHOTO_SUFFIXES = frozenset({".jpg", ".jpeg", ".jfif", ".png", ".webp"})
# What people put beside their photos to tell of them: nobody takes it for a photo that is missing.
TEXT_SUFFIXES = frozenset({".txt", ".md", ".rst", ".csv", ".tsv", ".json", ".py"})
TEXT_NAMES = frozenset({"readme", "license", "licence"})
# What operating systems leave beside people's photos: passed over without a word.
JUNK_NAMES = frozenset({".DS_Store", "Thumbs.db", "desktop.ini"})
JUNK_FOLDERS = frozenset({"__MACOSX"})


class SourceError(ValueError):
    """A source that cannot be read as a dataset; the sentence names the file or member, `code` the kind of trouble."""

    def __init__(self, sentence: str, code: str = "unreadable_source") -> None:
        super().__init__(sentence)
        self.code = code


@dataclass(frozen=True)
class Record:
    """One photo as its source gives it: not decoded, perhaps not a photo at all."""

    name: str  # path inside the source, with "/"
    label: str
    read: Callable[[], bytes]  # may raise SourceError or classifier.guard.Refused
    part: str | None = None  # where the source divides its photos itself


@dataclass(frozen=True)
class Listing:
    """The files of a source, none of them read."""

    title: str  # how sentences call the source
    files: Mapping[tuple[str, ...], Callable[[], bytes]]  # path inside the source -> reads it
    notes: tuple[str, ...] = ()  # what a person should know about the names
    folders: frozenset[tuple[str, ...]] = frozenset()  # those named, empty ones among them
    closed: tuple[tuple[str, ...], ...] = ()  # links, and folders that are hidden or too deep: passed over


def is_junk(parts: tuple[str, ...]) -> bool:
    """Whether a path inside a source is one of those leavings, hidden files among them."""
    return parts[-1] in JUNK_NAMES or parts[-1].startswith("._") or any(part in JUNK_FOLDERS for part in parts)


def is_photo(parts: tuple[str, ...]) -> bool:
    """Whether the end of its name says that it is a photo."""
    _, dot, suffix = parts[-1].rpartition(".")
    return dot + suffix.lower() in PHOTO_SUFFIXES


def is_text(parts: tuple[str, ...]) -> bool:
    """Whether its name says that it tells of the photos, or that it is hidden."""
    stem, dot, suffix = parts[-1].lower().rpartition(".")
    return dot + suffix in TEXT_SUFFIXES or (stem or suffix) in TEXT_NAMES or parts[-1].startswith(".")
