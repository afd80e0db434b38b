"""The bytes of a photo -> what a network sees: one path for validation, page, API, batch and training.

`preprocess` is `decode` (guard, then Pillow), `square` (resize and crop in one step) and `normalize`. This is the only
module that opens a picture.
"""

from __future__ import annotations

import io
import struct
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from math import isfinite

import numpy as np
from PIL import Image, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

from classifier import guard
from classifier.colour import on_white
from classifier.guard import Limits, Refused

LARGE_PIXELS = 12_500_000  # above, one picture at a time: 50 megapixels take 400 MB. A phone's 12 are 12.2
_one_large = threading.Lock()

# Registered now, so that Pillow never goes looking for a reader through the forty others it has.
READERS = (JpegImagePlugin, PngImagePlugin, WebPImagePlugin)

# Pillow warns of what `colour` and `guard` deal with; catch_warnings() is not safe between threads.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")

UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # EXIF orientation -> what turns it upright
BROKEN = (OSError, ValueError, SyntaxError, struct.error, LookupError, TypeError, ArithmeticError, RecursionError)


@dataclass(frozen=True)
class Preprocessing:
    """The shorter side is resized to `resize`, the middle `crop` x `crop` is cut out, colours are (x - mean) / std."""

    resize: int = 256  # pixels
    crop: int = 224  # pixels
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)  # R G B, of 0..1
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)

    def __post_init__(self) -> None:
        for name, value in (("crop", self.crop), ("resize", self.resize)):
            if type(value) is not int or not 8 <= value <= 2048:
                raise ValueError(f"preprocessing: {name} must be a whole number from 8 to 2048, not {value!r}")
        if self.crop > self.resize:
            raise ValueError(f"preprocessing: crop ({self.crop}) must not be larger than resize ({self.resize})")
        for name, values, lowest in (("mean", self.mean, -10.0), ("std", self.std, 1e-6)):
            if len(values) != 3 or not all(
                type(value) in (int, float) and isfinite(value) and lowest <= value <= 10.0 for value in values
            ):
                raise ValueError(f"preprocessing: {name} must be three numbers from {lowest:g} to 10, not {values!r}")

    def as_dict(self) -> dict[str, object]:
        return asdict(self) | {"mean": list(self.mean), "std": list(self.std), "interpolation": "bilinear"}

    @classmethod
    def from_dict(cls, values: Mapping[str, object]) -> Preprocessing:
        """Raise ValueError, with the key at fault, for anything that `as_dict` would not have written."""
        keys = {"resize", "crop", "mean", "std", "interpolation"}
        if not isinstance(values, Mapping) or set(values) != keys:
            raise ValueError(f"preprocessing must have exactly the keys {', '.join(sorted(keys))}")
        if values["interpolation"] != "bilinear":
            raise ValueError(f"preprocessing: interpolation must be 'bilinear', not {values['interpolation']!r}")
        for name in ("mean", "std"):
            if not isinstance(values[name], list | tuple):
                raise ValueError(f"preprocessing: {name} must be a list of three numbers")
        return cls(values["resize"], values["crop"], tuple(values["mean"]), tuple(values["std"]))  # type: ignore[arg-type]


def decode(data: bytes, limits: Limits = Limits(), *, shorter_side: int | None = None) -> Image.Image:
    """An RGB picture, upright, on white, without metadata; raise Refused for a file that gives none.

    With `shorter_side` (pixels) the picture may come smaller, as long as its shorter side keeps twice that: a JPEG is
    then decoded at 1/2, 1/4 or 1/8, four times as fast at 12 megapixels.
    """
    header = guard.check(data, limits)
    with _one_large if header.pixels > LARGE_PIXELS else nullcontext(), _in_words():
        picture = on_white(_open(header, data, shorter_side=shorter_side))
        if shorter_side and picture.width * picture.height > LARGE_PIXELS:  # what cannot be decoded smaller
            factor = max(1.0, min(picture.size) / (4 * shorter_side))
            picture = picture.resize(
                (round(picture.width / factor), round(picture.height / factor)), Image.Resampling.BILINEAR
            )
        if header.orientation in UPRIGHT:
            picture = picture.transpose(UPRIGHT[header.orientation])
    picture.info = {}
    return picture


def _open(header: guard.Header, data: bytes, *, shorter_side: int | None) -> Image.Image:
    """Let Pillow decode the parts that draw the picture, and nothing else of the file."""
    picture = Image.open(io.BytesIO(header.stripped(data)), formats=(header.format,))
    if picture.size != (header.width, header.height):
        raise Refused("image_corrupt", "This file states two different sizes. Try the original file.")
    drafted = picture.draft(None, (2 * shorter_side, 2 * shorter_side)) if shorter_side else None
    picture.load()
    if drafted is not None and drafted[1][2:] != picture.size:
        # The last column or row is part of a pixel; taken for a whole one it would shift all others.
        return picture.resize(picture.size, Image.Resampling.BICUBIC, box=drafted[1])
    return picture


@contextmanager
def _in_words() -> Iterator[None]:
    """What Pillow raises for a file that it cannot read -> Refused."""
    try:
        yield
    except Refused:
        raise
    except MemoryError as error:
        raise Refused(
            "image_too_complex", "This picture needs more memory than is allowed. Make it smaller."
        ) from error
    except Image.DecompressionBombError as error:
        raise Refused("image_too_many_pixels", "This picture has too many pixels. Make it smaller first.") from error
    except BROKEN as error:
        if "truncated" in str(error).lower():
            raise Refused(
                "image_truncated", "This file ends too early: part of the picture is missing. Send the whole file."
            ) from error
        raise Refused("image_corrupt", "This file is damaged: it cannot be decoded. Try the original file.") from error


def square(picture: Image.Image, preprocessing: Preprocessing) -> np.ndarray:
    """RGB -> uint8 (H, W, 3), H = W = crop: torchvision's Resize and CenterCrop in one resampling of the exact box.

    The box is the one that the two steps cut with their roundings; a naive centre shifts by half a pixel and changes
    answers.
    """
    width, height = picture.size
    resize, crop = preprocessing.resize, preprocessing.crop
    shorter = min(width, height)
    wide, high = int(resize * width / shorter), int(resize * height / shorter)  # after Resize
    left, top = round((wide - crop) / 2.0), round((high - crop) / 2.0)
    across, down = width / wide, height / high  # pixels of the picture in one of the resized
    box = (left * across, top * down, (left + crop) * across, (top + crop) * down)
    box = (box[0], box[1], min(box[2], width), min(box[3], height))  # float error must not leave the picture
    return np.asarray(picture.resize((crop, crop), Image.Resampling.BILINEAR, box=box))  # (H, W, 3)


def normalize(pixels: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    """uint8 (H, W, 3) or (B, H, W, 3) -> contiguous float32 (3, H, W) or (B, 3, H, W)."""
    scale, shift = (value.reshape(3, 1, 1) for value in affine(preprocessing))
    planes = np.moveaxis(pixels, -1, -3)
    result = np.empty(planes.shape, np.float32)
    np.multiply(planes, scale, out=result)
    result += shift
    return result


def affine(preprocessing: Preprocessing) -> tuple[np.ndarray, np.ndarray]:
    """scale and shift, float32 (3,) each: a colour of 0..255 times the one plus the other is what a network sees."""
    std = np.array(preprocessing.std, np.float32)
    return 1 / (255 * std), -np.array(preprocessing.mean, np.float32) / std


def preprocess(data: bytes, preprocessing: Preprocessing, limits: Limits = Limits()) -> np.ndarray:
    """The bytes of a photo -> float32 (3, H, W); raise Refused for a file that is no photo."""
    return normalize(pixels(data, preprocessing, limits), preprocessing)


def pixels(data: bytes, preprocessing: Preprocessing, limits: Limits = Limits()) -> np.ndarray:
    """The same before it is normalized: uint8 (H, W, 3)."""
    return square(decode(data, limits, shorter_side=preprocessing.resize), preprocessing)


def thumbnail(data: bytes, side: int, limits: Limits = Limits()) -> bytes:
    """A fresh JPEG that fits into `side` x `side` pixels and has nothing of the file but its pixels."""
    picture = decode(data, limits, shorter_side=side)
    picture.thumbnail((side, side), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()
