"""What every source of photos yields: one record a photo, read when it is needed."""

from collections.abc import Callable
from dataclasses import dataclass

PHOTO_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp"})
# What operating systems leave beside people's photos: passed over without a word.
JUNK_NAMES = frozenset({".DS_Store", "Thumbs.db", "desktop.ini"})
JUNK_FOLDERS = frozenset({"__MACOSX"})


class SourceError(ValueError):
    """A source that cannot be read as photos in class folders; the sentence names the file or member."""


@dataclass(frozen=True)
class Record:
    """One photo as its source gives it: not decoded, perhaps not a photo at all."""

    name: str  # path inside the source, with "/"
    label: str
    read: Callable[[], bytes]


def is_junk(parts: tuple[str, ...]) -> bool:
    """Whether a path inside a source is one of those leavings, hidden files among them."""
    return parts[-1] in JUNK_NAMES or parts[-1].startswith("._") or any(part in JUNK_FOLDERS for part in parts)
