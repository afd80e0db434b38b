"""What every source of photos yields: one record a photo, read when it is needed."""

from collections.abc import Callable
from dataclasses import dataclass

PHOTO_SUFFIXES = frozenset({".jpg", ".jpeg", ".jfif", ".png", ".webp"})
# What people put beside their photos to tell of them: nobody takes it for a photo that is missing.
TEXT_SUFFIXES = frozenset({".txt", ".md", ".rst", ".csv", ".tsv", ".json", ".py"})
TEXT_NAMES = frozenset({"readme", "license", "licence"})


@dataclass(frozen=True)
class Record:
    """One photo as its source gives it: not decoded, perhaps not a photo at all."""

    name: str  # path inside the source, with "/"
    label: str
    read: Callable[[], bytes]  # may raise SourceError or classifier.guard.Refused
    part: str | None = None  # where the source divides its photos itself


def is_photo(parts: tuple[str, ...]) -> bool:
    """Whether the end of its name says that it is a photo."""
    _, dot, suffix = parts[-1].rpartition(".")
    return dot + suffix.lower() in PHOTO_SUFFIXES


def is_text(parts: tuple[str, ...]) -> bool:
    """Whether its name says that it tells of the photos, or that it is hidden."""
    stem, dot, suffix = parts[-1].lower().rpartition(".")
    return dot + suffix in TEXT_SUFFIXES or (stem or suffix) in TEXT_NAMES or parts[-1].startswith(".")
