"""Sets that everybody knows, fetched from where their authors publish them, each file checked by its published MD5.

Addresses and MD5 are those of torchvision.datasets (a test compares them), whose own download would need torch here.
Nothing but these addresses is ever asked, and what comes is kept only where it is what was published: a file appears
whole under its name, or not at all. Of an archive the named members alone are read, never its paths.
"""

import fcntl
import hashlib
import http.client
import shutil
import tarfile
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from classifier.sources.listing import SourceError
from trainer.ingest import cifar

PIECE_BYTES = 1024**2
MAX_BYTES = 1024**3  # of one file
TIMEOUT_SECONDS = 30.0  # without a byte


@dataclass(frozen=True)
class Published:
    """A set, where its files are, and what to do without a network."""

    title: str
    content: str  # what it is, in a few words
    mirrors: tuple[str, ...]  # each followed by a file's name
    files: dict[str, str]  # name -> MD5
    by_hand: str  # which files to get where there is no network
    folder: str = ""  # the files that its reader wants lie in this folder of its one archive ...
    members: tuple[str, ...] = ()  # ... under these names
    is_zip: bool = False  # read as it is, as any zip of photos


def idx(title: str, content: str, mirrors: tuple[str, ...], md5: tuple[str, str, str, str]) -> Published:
    kinds = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
    files = dict(zip((f"{kind}-ubyte.gz" for kind in kinds), md5, strict=True))
    return Published(title, content, mirrors, files, f"the four files {', '.join(files)}")


def of_cifar(known: cifar.Cifar, content: str, archive: str, md5: str) -> Published:
    return Published(
        known.title,
        content,
        ("https://www.cs.toronto.edu/~kriz/",),
        {archive: md5},
        f"the archive {archive} of the University of Toronto",
        known.folder,
        (*known.train, *known.test, known.names[0]),
    )


SETS: dict[str, Published] = {
    "cifar10": of_cifar(
        cifar.CIFAR10,
        "60,000 photos of 32 x 32 pixels, 10 labels, 170 MB",
        "cifar-10-python.tar.gz",
        "c58f30108f718f92721af3b95e74349a",
    ),
    "cifar100": of_cifar(
        cifar.CIFAR100,
        "60,000 photos of 32 x 32 pixels, 100 labels, 169 MB",
        "cifar-100-python.tar.gz",
        "eb9058c3a382ffc7106e4002c42a8d85",
    ),
    "eurosat": Published(
        "EuroSAT",
        "27,000 satellite photos of 64 x 64 pixels, 10 kinds of land, 94 MB",
        ("https://huggingface.co/datasets/torchgeo/eurosat/resolve/c877bcd43f099cd0196738f714544e355477f3fd/",),
        {"EuroSAT.zip": "c8fa014336c82ac7804f0398fcb19387"},
        "EuroSAT.zip, the one of RGB photos",
        is_zip=True,
    ),
    "mnist": idx(
        "MNIST",
        "70,000 handwritten digits, 12 MB",
        ("https://ossci-datasets.s3.amazonaws.com/mnist/", "http://yann.lecun.com/exdb/mnist/"),
        (
            "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "d53e105ee54ea40749a09fcbcd1e9432",
            "9fb629c4189551a2d022fa330f9573f3",
            "ec29112dd5afa0611ce80d1b7f02629c",
        ),
    ),
    "fashionmnist": idx(
        "Fashion-MNIST",
        "70,000 pictures of clothes, 10 kinds, 31 MB",
        ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
        (
            "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "25c81989df183df01b3e8a0aad5dffbe",
            "bef4ecab320f06d8554ea6380940ec79",
            "bb300cfdad3c16e7a12a480ee83cd310",
        ),
    ),
    "kmnist": idx(
        "Kuzushiji-MNIST",
        "70,000 handwritten Japanese letters, 10 kinds, 21 MB",
        ("http://codh.rois.ac.jp/kmnist/dataset/kmnist/",),
        (
            "bdb82020997e1d708af4cf47b453dcf7",
            "e144d726b3acfaa3e44228e80efcd344",
            "5c965bf0a639b31b8f53240b1b52f4d7",
            "7320c461ea6c1c855c0b718fb2a4b134",
        ),
    ),
}


def key(text: str) -> str:
    """What a person calls a set, as SETS calls it: "CIFAR-10" -> "cifar10"."""
    return text.lower().replace("-", "").replace("_", "")


def fetch(name: str, folder: Path, *, say: Callable[[int], None] = lambda received: None) -> Path:
    """The set SETS[name], its files in `folder`; those that lie there are not fetched again. `say` hears how many bytes
    of a file are here, and may raise to end it. -> the path that trainer.ingest.source reads.

    Raises SourceError where a file cannot be had or is not the published one, OSError where it cannot be stored.
    """
    known = SETS[name]
    folder.mkdir(parents=True, exist_ok=True)
    wanted = [folder / known.folder / member for member in known.members]
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another import of the same set waits, and then finds it here
        if not wanted or not all(file.is_file() for file in wanted):
            for file, md5 in known.files.items():
                if not (folder / file).is_file():
                    from_mirrors(known, file, md5, folder, say)
            if archive := known.members and packed(folder):
                unpack(*archive, folder)
                archive[1].unlink()
    return folder / next(iter(known.files)) if known.is_zip else folder


def from_mirrors(known: Published, file: str, md5: str, folder: Path, say: Callable[[int], None]) -> None:
    reasons = []
    for mirror in known.mirrors:
        try:
            download(f"{mirror}{file}", md5, folder / file, say)
            return
        except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
            host = mirror.split("/")[2]
            reasons.append(f"{host}: {getattr(error, 'reason', None) or error or type(error).__name__}")
    raise SourceError(
        f"{known.title} could not be downloaded ({'; '.join(reasons)}). Without a network, get {known.by_hand} "
        "elsewhere, and import that from this machine.",
        "not_found",
    )


def download(address: str, md5: str, file: Path, say: Callable[[int], None]) -> None:
    """One file, whole and as published. Raises SourceError, or what urllib raises."""
    place = file.with_name(f"{file.name}.part")
    digest = hashlib.md5(usedforsecurity=False)
    received = 0
    request = urllib.request.Request(address, headers={"User-Agent": "breedsite"})  # noqa: S310 - one of SETS
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer, place.open("wb") as out:  # noqa: S310
            while piece := answer.read(PIECE_BYTES):
                received += len(piece)
                if received > MAX_BYTES:
                    raise SourceError(f"{address} sends more than the published file has.", "too_large")
                digest.update(piece)
                out.write(piece)
                say(received)
        if digest.hexdigest() != md5:
            raise SourceError(f"{address} sent another file than the published one: its MD5 is another.", "corrupt")
        place.replace(file)
    finally:
        place.unlink(missing_ok=True)


def packed(path: Path) -> tuple[Published, Path] | None:
    """Which set lies at a path in the one archive that its authors publish: the archive itself, or its folder."""
    for known in SETS.values():
        for name in known.files if known.members else ():
            archive = path / name if path.is_dir() else path
            if archive.name == name and archive.is_file():
                return known, archive
    return None


def unpack(known: Published, archive: Path, folder: Path) -> None:
    """The wanted members of an archive as files of their own, whose MD5 their reader checks, in `folder` where they lay
    in it. Raises SourceError, also for one that is not as published: what it would unpack to is anybody's guess."""
    with archive.open("rb") as packed_bytes:
        digest = hashlib.file_digest(packed_bytes, partial(hashlib.md5, usedforsecurity=False))
    if digest.hexdigest() != known.files[archive.name]:
        raise SourceError(f"{archive.name} is not the published file: its MD5 is another. Get it again.", "corrupt")
    target = folder / known.folder
    target.mkdir(exist_ok=True)
    try:
        with tarfile.open(archive, "r:gz") as opened:
            for member in known.members:
                source = opened.extractfile(f"{known.folder}/{member}")
                if source is None:
                    raise KeyError(member)
                place = target / f"{member}.part"
                with place.open("wb") as out:
                    shutil.copyfileobj(source, out, PIECE_BYTES)
                place.replace(target / member)
    except (tarfile.TarError, KeyError, EOFError) as error:
        raise SourceError(f"{archive.name} cannot be unpacked ({error}).", "corrupt") from error
