"""Which reader reads a path: a zip, or a folder of class folders."""

from collections.abc import Iterator
from pathlib import Path

from trainer.ingest import archive, folder
from trainer.ingest.record import Record


def records(path: Path) -> Iterator[Record]:
    """The photos at `path` with their labels; raises SourceError for what is no such thing."""
    return folder.records(path) if path.is_dir() else archive.records(path)
