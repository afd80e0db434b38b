"""Which reader reads a path: a zip, a folder, or the files of a set that everybody knows."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from classifier.sources import archive, folder
from classifier.sources.listing import Listing, SourceError
from trainer.ingest import cifar, download, idx
from trainer.ingest.layout import Layout, recognise
from trainer.ingest.record import Record


def listing(path: Path) -> Listing:
    """The files of a folder or a zip; raises SourceError for what is neither."""
    return folder.listing(path) if path.is_dir() else archive.listing(path)


def is_builtin(path: Path) -> bool:
    """Whether the files of a set that everybody knows lie there."""
    return any(find(path) is not None for find in (cifar.found, idx.found, download.packed))


def layout(path: Path, rename: Mapping[str, str] | None = None) -> Layout:
    """The photos at `path` with their labels, and how they are laid out; raises SourceError."""
    if known := cifar.found(path):
        return cifar.layout(*known)
    if archive := download.packed(path):
        with TemporaryDirectory(prefix="breedsite-") as folder:  # where the photos come from may be for reading alone
            download.unpack(*archive, Path(folder))
            return layout(Path(folder))  # reads all of it
    if place := idx.found(path):
        return idx.layout(place)
    if not path.exists() and (published := download.SETS.get(download.key(path.name))):
        sentence = f"The files of {path.name} are not here: get {published.by_hand}, and name where they are."
        raise SourceError(sentence, "not_found")
    return recognise(listing(path), rename)


def records(path: Path) -> Iterator[Record]:
    """The photos at `path` with their labels; raises SourceError."""
    yield from layout(path).records
