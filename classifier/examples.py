"""Pictures to click on an empty page. What is served is a fresh copy without metadata, never the file itself."""

import hashlib
import logging
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from pathlib import Path

from classifier.preprocess import thumbnail

log = logging.getLogger(__name__)

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp"})
MOST = 12  # examples on the page
SIDE = 512  # pixels: sharp as a thumbnail, and more than a network looks at


@dataclass(frozen=True)
class Example:
    """A picture that may be shown. Two of one `key` have the same bytes; `read` raises OSError or ValueError."""

    key: Hashable
    name: str = field(compare=False)  # for the log
    read: Callable[[], bytes] = field(compare=False)


@dataclass(frozen=True)
class Copy:
    """A fresh JPEG of at most `SIDE` pixels, and the name it is served under."""

    id: str
    data: bytes


# Each is asked with the digest of the version that answers; trainer adds the photos that people ticked.
Source = Callable[[str], list[Example]]
sources: list[Source] = []


def from_folder(folder: Path | None) -> list[Example]:
    """The pictures lying in `folder`, by name. A folder that is missing is said in the log and gives none."""
    if folder is None:
        return []
    try:
        files = sorted(file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES)
    except OSError as error:
        log.warning("The folder of example pictures %s cannot be read: %s", folder, error.strerror)
        return []
    return [one for one in map(from_file, files) if one is not None]


def from_file(file: Path) -> Example | None:
    """Its time and size are in the key, so that a changed file is read again. None for a file that has gone."""
    try:
        state = file.stat()
    except OSError as error:
        log.warning("The example picture %s cannot be read: %s", file.name, error.strerror)
        return None
    return Example((file, state.st_mtime_ns, state.st_size), file.name, file.read_bytes)


def gather(*examples: Iterable[Example]) -> dict[str, bytes]:
    """At most `MOST` copies by their ids, in the order given; what gives no picture is left out, and logged once."""
    copies = (copy(one) for several in examples for one in several)
    return {one.id: one.data for one in islice((one for one in copies if one is not None), MOST)}


@lru_cache(maxsize=8 * MOST)
def copy(example: Example) -> Copy | None:
    try:
        data = thumbnail(example.read(), SIDE)
    except (OSError, ValueError) as error:
        log.warning("The example picture %s is left out: %s", example.name, error)
        return None
    return Copy(hashlib.sha256(data).hexdigest()[:16], data)
