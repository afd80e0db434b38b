"""CIFAR-10 and CIFAR-100 from the files their authors publish, which are pickles.

Their MD5 is checked against the published one before anything is read. Then a process of its own, with limits on
memory and files, unpickles them with an unpickler that knows numpy arrays and plain containers and nothing else, and
answers with raw pixels: a file that is not what it says can neither run code here nor be taken for pictures.
"""

import codecs
import hashlib
import io
import json
import pickle
import resource
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from classifier.sources.listing import SourceError
from trainer.ingest.layout import Layout
from trainer.ingest.record import Record

ROOT = Path(__file__).resolve().parent.parent.parent
SIDE = 32  # pixels
PHOTO_BYTES = 3 * SIDE * SIDE
MEMORY_BYTES = 2_000_000_000
SECONDS = 120.0
ALLOWED = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("_codecs", "encode"),
}


@dataclass(frozen=True)
class Cifar:
    """One of the two sets as it is published."""

    title: str
    folder: str  # inside the published archive
    train: dict[str, str]  # file -> MD5
    test: dict[str, str]
    names: tuple[str, str, str]  # file of the labels' names, its MD5, its key
    label_key: str


CIFAR10 = Cifar(
    title="CIFAR-10",
    folder="cifar-10-batches-py",
    train={
        "data_batch_1": "c99cafc152244af753f735de768cd75f",
        "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "data_batch_4": "634d18415352ddfa80567beed471001a",
        "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    },
    test={"test_batch": "40351d587109b95175f43aff81a1287e"},
    names=("batches.meta", "5ff9c542aee3614f3951f8cda6e48888", "label_names"),
    label_key="labels",
)
CIFAR100 = Cifar(
    title="CIFAR-100",
    folder="cifar-100-python",
    train={"train": "16019d7e3df5f24257cddd939b257f8d"},
    test={"test": "f0ef6b0ae62326f3e7ffdfab6717acfc"},
    names=("meta", "7973b15100ade9c7d40fb424638fde48", "fine_label_names"),
    label_key="fine_labels",
)
SETS = (CIFAR10, CIFAR100)


def found(folder: Path) -> tuple[Cifar, Path] | None:
    """Which set lies in a folder, and where exactly: in it, or in the folder that its archive unpacks to."""
    for cifar in SETS:
        for place in (folder / cifar.folder, folder):
            if all((place / name).is_file() for name in (cifar.names[0], *cifar.train)):
                return cifar, place
    return None


def layout(cifar: Cifar, place: Path) -> Layout:
    """Its photos, with the parts that its authors made. Raises SourceError."""
    records = []
    names: list[str] = []
    for part, files in (("train", cifar.train), ("test", cifar.test)):
        for name, md5 in files.items():
            meta = (cifar.names[0], cifar.names[1])
            labels, pixels, names = _read(place, name, md5, meta, (cifar.label_key, cifar.names[2]))
            for index, label in enumerate(labels):
                read = partial(_png, pixels, index)
                records.append(Record(f"{name}/{index:05d}", names[label], read, part))
    return Layout(
        sentence=f"{cifar.title} as published: its files have the MD5 that their authors state.",
        records=records,
        outside=[],
        notes=(),
        empty=sorted(set(names) - {record.label for record in records}),
    )


def _png(pixels: np.ndarray, index: int) -> bytes:
    """Row (3072,) of channels, as the authors store it, -> a PNG file."""
    picture = Image.fromarray(pixels[index].reshape(3, SIDE, SIDE).transpose(1, 2, 0).copy())
    out = io.BytesIO()
    picture.save(out, "PNG", compress_level=1)
    return out.getvalue()


def _read(
    place: Path, name: str, md5: str, meta: tuple[str, str], keys: tuple[str, str]
) -> tuple[list[int], np.ndarray, list[str]]:
    """Labels (N,), pixels uint8 (N, 3072) and the labels' names, as a process of its own reads them."""
    files = {}
    for file, expected in ((place / name, md5), meta and (place / meta[0], meta[1])):
        try:
            data = file.read_bytes()
        except OSError as error:
            raise SourceError(f"{file.name} cannot be read ({error.strerror}).", "not_found") from error
        if hashlib.md5(data, usedforsecurity=False).hexdigest() != expected:
            raise SourceError(f"{file.name} is not the published file: its MD5 is another. Get it again.", "corrupt")
        files[file.name] = data
    with tempfile.TemporaryFile() as answer:
        done = subprocess.run(
            [sys.executable, "-m", "trainer.ingest.cifar", *keys],
            input=b"".join(struct.pack(">Q", len(data)) + data for data in (files[name], files[meta[0]])),
            stdout=answer,
            stderr=subprocess.PIPE,
            cwd=ROOT,
            env={"PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"},
            timeout=SECONDS,
            check=False,
        )
        if done.returncode != 0:
            last = (done.stderr.decode(errors="replace").strip().splitlines() or ["it gave up"])[-1]
            raise SourceError(f"{name} cannot be read ({last[:200]}).", "corrupt")
        answer.seek(0)
        head = json.loads(answer.readline())
        labels, names = head["labels"], head["names"]
        pixels = np.memmap(answer, np.uint8, "r", answer.tell(), (len(labels), PHOTO_BYTES))  # outlives the name
    return labels, pixels, names


# --- the process of its own


class PlainUnpickler(pickle.Unpickler):
    """Arrays, text, numbers and containers of them; whatever else a pickle asks for is refused."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        known: dict[tuple[str, str], Callable[..., Any]] = {
            ("numpy", "ndarray"): np.ndarray,
            ("numpy", "dtype"): np.dtype,
            ("_codecs", "encode"): codecs.encode,
        }
        return known.get((module, name), np._core.multiarray._reconstruct)  # type: ignore[attr-defined]


def main(label_key: str, names_key: str) -> None:
    """Two pickles on standard input, each behind its length; a line of JSON and raw pixels on standard output."""
    for what, bound in ((resource.RLIMIT_AS, MEMORY_BYTES), (resource.RLIMIT_FSIZE, MEMORY_BYTES)):
        resource.setrlimit(what, (bound, bound))
    batch, meta = (unpickled() for _ in range(2))
    labels = [int(label) for label in batch[label_key]]
    names = [str(name) for name in meta[names_key]]
    pixels = np.ascontiguousarray(batch["data"], np.uint8).reshape(len(labels), PHOTO_BYTES)
    if not labels or min(labels) < 0 or max(labels) >= len(names):
        sys.exit("its labels are not those that it names")
    sys.stdout.buffer.write(json.dumps({"labels": labels, "names": names}).encode() + b"\n")
    sys.stdout.buffer.write(pixels.tobytes())


def unpickled() -> dict[str, Any]:
    (length,) = struct.unpack(">Q", sys.stdin.buffer.read(8))
    try:
        found = PlainUnpickler(io.BytesIO(sys.stdin.buffer.read(length)), encoding="latin1").load()
    except (pickle.UnpicklingError, EOFError, ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        sys.exit(f"it is no pickle of arrays and plain containers: {error}")
    if not isinstance(found, dict):
        sys.exit("it holds no dictionary")
    return found


if __name__ == "__main__":
    main(*sys.argv[1:])
