"""A folder on this machine."""

import os
from functools import partial
from pathlib import Path

from classifier.guard import Limits
from classifier.sources.listing import Listing, SourceError, is_junk, too_large

MAX_DEPTH = 8  # folders
MAX_FILES = 200_000


def listing(folder: Path, max_bytes: int = Limits().max_bytes) -> Listing:
    """The files of a folder by their paths. Links are not followed: they may lead outside. Raises SourceError."""
    if not folder.is_dir():
        raise SourceError(f"There is no folder {folder}.", "not_found")
    files = {}
    seen = set()
    closed = []

    def locked(error: OSError) -> None:
        closed.append(Path(error.filename).relative_to(folder).parts)

    for place, folders, names in os.walk(folder, onerror=locked):
        inside = Path(place).relative_to(folder).parts
        known = sorted(name for name in folders if not is_junk((*inside, name)))
        folders[:] = [name for name in known if enters(Path(place, name), len(inside))]
        seen |= {(*inside, name) for name in folders}
        closed += [(*inside, name) for name in known if name not in folders]
        for name in sorted(names):
            file = Path(place, name)
            if is_junk((*inside, name)):
                continue
            if file.is_file() and not file.is_symlink():
                files[*inside, name] = partial(_read, file, max_bytes)
            else:
                closed.append((*inside, name))
        if len(files) + len(closed) > MAX_FILES:
            raise SourceError(f"The folder {folder.name} holds more than {MAX_FILES} files.", "too_many_files")
    return Listing(folder.name, files, folders=frozenset(seen), closed=tuple(closed))


def enters(folder: Path, depth: int) -> bool:
    """Whether a folder that lies in `depth` others is looked into."""
    return depth < MAX_DEPTH and not folder.name.startswith(".") and not folder.is_symlink()


def _read(file: Path, max_bytes: int) -> bytes:
    """The bytes of a file that is no larger than a photo may be: others are not read at all."""
    try:
        with file.open("rb") as opened:
            data = opened.read(max_bytes + 1)
    except OSError as error:
        raise SourceError(f"The file {file.name} cannot be read ({error.strerror}).") from error
    if len(data) > max_bytes:
        raise too_large(max_bytes)
    return data
