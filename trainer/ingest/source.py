"""Which reader reads a path: a zip, or a folder."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from trainer.ingest import archive, folder
from trainer.ingest.layout import Layout, recognise
from trainer.ingest.record import Listing, Record


def listing(path: Path) -> Listing:
    """The files of a folder or a zip; raises SourceError for what is neither."""
    return folder.listing(path) if path.is_dir() else archive.listing(path)


def layout(path: Path, rename: Mapping[str, str] | None = None) -> Layout:
    """The photos at `path` with their labels, and how they are laid out; raises SourceError."""
    return recognise(listing(path), rename)


def records(path: Path) -> Iterator[Record]:
    """The photos at `path` with their labels; raises SourceError."""
    yield from layout(path).records
