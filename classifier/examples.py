"""Pictures to click on an empty page. What is served is a fresh copy without metadata, never the operator's file."""

import logging
from collections.abc import Iterable
from functools import lru_cache
from itertools import islice
from pathlib import Path

from classifier.preprocess import thumbnail
from classifier.problems import Refused

log = logging.getLogger(__name__)

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp"})
MOST = 8  # examples on the page
SIDE = 512  # pixels: sharp as a thumbnail, and more than a network looks at


def from_folder(folder: Path | None) -> Iterable[Path]:
    """The pictures lying in `folder`, by name. A folder that is missing is said in the log and gives none."""
    if folder is None:
        return []
    try:
        return sorted(file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES)
    except OSError as error:
        log.warning("The folder of example pictures %s cannot be read: %s", folder, error.strerror)
        return []


def gather(*sources: Iterable[Path]) -> list[bytes]:
    """At most `MOST` JPEG copies, in the order of the sources; a file that is no photo is left out, and logged once."""
    copies = (copy(file) for source in sources for file in source)
    return list(islice((data for data in copies if data is not None), MOST))


def copy(file: Path) -> bytes | None:
    """A fresh JPEG of at most `SIDE` pixels; None for a file that gives none."""
    try:
        state = file.stat()
    except OSError as error:
        log.warning("The example picture %s cannot be read: %s", file.name, error.strerror)
        return None
    return _copy(file, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=8 * MOST)
def _copy(file: Path, _mtime_ns: int, _size: int) -> bytes | None:
    """The time and the size are in the key, so that a changed file is read again."""
    try:
        return thumbnail(file.read_bytes(), SIDE)
    except (Refused, OSError) as error:
        log.warning("The example picture %s is left out: %s", file.name, error)
        return None
