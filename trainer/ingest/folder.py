"""A folder of class folders: `<label>/<photo>.jpg`."""

from collections.abc import Iterator
from pathlib import Path

from trainer.ingest.record import PHOTO_SUFFIXES, Record, SourceError, is_junk


def records(folder: Path) -> Iterator[Record]:
    """The photos in the class folders of `folder`, in the order of their names.

    Links are not followed: they may lead outside the folder. Raises SourceError when `folder` holds no class folder.
    """
    if not folder.is_dir():
        raise SourceError(f"There is no folder {folder}.")
    labels = sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.is_symlink())
    labels = [label for label in labels if not label.startswith(".") and not is_junk((label,))]
    if not labels:
        raise SourceError(
            f"The folder {folder} holds no folder: put the photos of each label into a folder of its name."
        )
    for label in labels:
        for file in sorted((folder / label).iterdir()):
            if file.is_symlink() or not file.is_file() or file.suffix.lower() not in PHOTO_SUFFIXES:
                continue
            if not is_junk((label, file.name)):
                yield Record(f"{label}/{file.name}", label, file.read_bytes)
