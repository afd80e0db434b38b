"""MNIST, Fashion-MNIST and others that come as IDX files: a header, then plain bytes, as MNIST's authors defined it.

Their pictures have 28 pixels on a side; networks here take 32 at least, so a black edge of two is put around them, as
LeNet's authors did.
"""

import gzip
import io
import struct
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from classifier.sources.listing import SourceError
from trainer.ingest.layout import Layout
from trainer.ingest.record import Record

FILES = {"train": "train", "test": "t10k"}  # part -> how its files begin
LEAST_SIDE = 32  # pixels
MAX_BYTES = 512 * 1024**2  # of one file, unpacked


def found(folder: Path) -> Path | None:
    """Where exactly these files lie, packed or not: in a folder, or where torchvision puts those of one set, as
    `MNIST/raw` or `raw` in it."""
    places = [folder, folder / "raw", *sorted(folder.glob("*/raw"))]
    holding = [place for place in places if _file(place, "train-images-idx3-ubyte") is not None]
    return holding[0] if holding and (holding[0] in places[:2] or len(holding) == 1) else None


def layout(folder: Path) -> Layout:
    """The photos with the parts that their authors made. Raises SourceError."""
    records = []
    side = 0
    for part, begin in FILES.items():
        images = _read(folder, f"{begin}-images-idx3-ubyte", dimensions=3)
        labels = _read(folder, f"{begin}-labels-idx1-ubyte", dimensions=1)
        if len(images) != len(labels):
            raise SourceError(f"The {part} files hold {len(images)} pictures and {len(labels)} labels.", "corrupt")
        side = max(side, *images.shape[1:])
        for index, label in enumerate(labels):
            records.append(Record(f"{part}/{index:05d}", str(label), partial(_png, images, index), part))
    edge = f" A black edge makes their {side} pixels {LEAST_SIDE}." if side < LEAST_SIDE else ""
    return Layout(f"IDX files as MNIST has them: grey pictures labelled by numbers.{edge}", records, [], (), [])


def _png(images: np.ndarray, index: int) -> bytes:
    missing = [max(LEAST_SIDE - length, 0) for length in images.shape[1:]]
    edges = [(length // 2, length - length // 2) for length in missing]
    out = io.BytesIO()
    Image.fromarray(np.pad(images[index], edges)).save(out, "PNG", compress_level=1)
    return out.getvalue()


def _file(folder: Path, name: str) -> Path | None:
    return next((file for file in (folder / name, folder / f"{name}.gz") if file.is_file()), None)


def _read(folder: Path, name: str, *, dimensions: int) -> np.ndarray:
    """uint8 (N,) or (N, H, W)."""
    file = _file(folder, name)
    if file is None:
        raise SourceError(f"The file {name} is missing beside the others.", "not_found")
    try:
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as opened:
            data = opened.read(MAX_BYTES)
    except (OSError, EOFError) as error:
        raise SourceError(f"{file.name} cannot be read ({error}).", "corrupt") from error
    head = struct.Struct(f">4B{dimensions}I")
    if len(data) < head.size or tuple(data[:4]) != (0, 0, 8, dimensions):
        raise SourceError(f"{file.name} is not an IDX file of bytes in {dimensions} dimensions.", "corrupt")
    shape = head.unpack_from(data)[4:]
    if len(data) - head.size != np.prod(shape, dtype=object):
        raise SourceError(f"{file.name} is not as long as it declares.", "corrupt")
    return np.frombuffer(data, np.uint8, offset=head.size).reshape(shape)
