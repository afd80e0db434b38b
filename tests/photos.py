"""Class folders of small pictures that a tiny network can learn to tell apart, drawn by the tests themselves."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from trainer.ingest.record import Record


def draw(label: int, number: int, side: int = 32) -> Image.Image:
    """Label 0 is red, 1 is green, 2 is blue; a smooth pattern of its own lies over every photo."""
    numbers = np.random.default_rng((label, number))
    coarse = numbers.integers(0, 120, (5, 5, 3), np.uint8)
    coarse[..., label % 3] += 130
    return Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)


def encoded(picture: Image.Image, format: str = "PNG", **options: int) -> bytes:
    out = io.BytesIO()
    picture.save(out, format, **options)
    return out.getvalue()


def write_photos(folder: Path, labels: Sequence[str] = ("chow", "pug"), count: int = 10, side: int = 32) -> Path:
    """`count` photos of each label as `<label>/<number>.png`."""
    for label, name in enumerate(labels):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            (folder / name / f"{number}.png").write_bytes(encoded(draw(label, number, side)))
    return folder


def make_records(labels: Sequence[str] = ("chow", "pug"), count: int = 10, side: int = 32) -> list[Record]:
    """The same as records in memory."""
    records = []
    for label, name in enumerate(labels):
        for number in range(count):
            data = encoded(draw(label, number, side))
            records.append(Record(f"{name}/{number}.png", name, lambda data=data: data))
    return records
