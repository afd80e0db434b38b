"""What every source of photos is, a zip or a folder: names, and a way to read the file of each."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from classifier.problems import Refused

# What operating systems leave beside people's photos: passed over without a word.
JUNK_NAMES = frozenset({".DS_Store", "Thumbs.db", "desktop.ini"})
JUNK_FOLDERS = frozenset({"__MACOSX"})


class SourceError(ValueError):
    """A source that cannot be read; the sentence names the file or member, `code` the kind of trouble."""

    def __init__(self, sentence: str, code: str = "unreadable_source") -> None:
        super().__init__(sentence)
        self.code = code


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


def too_large(max_bytes: int) -> Refused:
    """What reading a file with more bytes than a photo may have raises."""
    return Refused("file_too_large", f"This file has more than {max_bytes / 1024**2:.0f} MB.", limit_bytes=max_bytes)
