"""Which reader reads a path: a zip, a folder, or the files of a set that everybody knows."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from trainer.ingest import archive, cifar, folder, idx
from trainer.ingest.layout import Layout, recognise
from trainer.ingest.record import Listing, Record, SourceError

SETS = {  # what torchvision calls it -> the files that are needed
    "cifar10": "the unpacked folder cifar-10-batches-py (cifar-10-python.tar.gz from the University of Toronto)",
    "cifar100": "the unpacked folder cifar-100-python (cifar-100-python.tar.gz from the University of Toronto)",
    "mnist": "the four files train-images-idx3-ubyte, train-labels-idx1-ubyte and those beginning with t10k",
    "fashionmnist": "the four files train-images-idx3-ubyte, train-labels-idx1-ubyte and those beginning with t10k",
}


def listing(path: Path) -> Listing:
    """The files of a folder or a zip; raises SourceError for what is neither."""
    return folder.listing(path) if path.is_dir() else archive.listing(path)


def is_builtin(path: Path) -> bool:
    """Whether the files of a set that everybody knows lie there."""
    return path.is_dir() and (cifar.found(path) is not None or idx.found(path))


def layout(path: Path, rename: Mapping[str, str] | None = None) -> Layout:
    """The photos at `path` with their labels, and how they are laid out; raises SourceError."""
    if path.is_dir():
        if known := cifar.found(path):
            return cifar.layout(*known)
        if idx.found(path):
            return idx.layout(path)
    if not path.exists() and (files := SETS.get(path.name.lower().replace("-", ""))):
        raise SourceError(f"The files of {path.name} are not here: get {files}, and name the folder.", "not_found")
    return recognise(listing(path), rename)


def records(path: Path) -> Iterator[Record]:
    """The photos at `path` with their labels; raises SourceError."""
    yield from layout(path).records
