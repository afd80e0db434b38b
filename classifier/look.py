"""What is kept of a picture to know it again: its size, a digest of its pixels, and a small grey thumbnail."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass

import numpy as np
from PIL import Image

from classifier import guard, preprocess
from classifier.guard import Limits

THUMBNAIL_SIDE = 32  # pixels
HEAD = struct.Struct(">4sII32s")


@dataclass(frozen=True)
class Look:
    """One picture, seen once."""

    format: str  # JPEG, PNG or WEBP
    width: int  # pixels, upright
    height: int
    pixels: bytes  # SHA-256 of width, height and the decoded pixels
    thumbnail: np.ndarray  # uint8 (32, 32), grey

    def as_bytes(self) -> bytes:
        head = HEAD.pack(self.format.encode(), self.width, self.height, self.pixels)
        return head + self.thumbnail.tobytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> Look:
        format, width, height, pixels = HEAD.unpack_from(data)
        thumbnail = np.frombuffer(data, np.uint8, offset=HEAD.size).reshape(THUMBNAIL_SIDE, THUMBNAIL_SIDE)
        return cls(format.rstrip(b"\0").decode(), width, height, pixels, thumbnail)


def look(data: bytes, limits: Limits = Limits()) -> Look:
    """Of the bytes of a photo; raise Refused for a file that is none."""
    format = guard.check(data, limits).format
    picture = preprocess.decode(data, limits)
    return Look(format, picture.width, picture.height, pixel_digest(picture), grey_thumbnail(picture))


def pixel_digest(picture: Image.Image) -> bytes:
    """Equal for two files that show the same picture, however they are stored."""
    return hashlib.sha256(f"{picture.width}x{picture.height}:".encode() + picture.tobytes()).digest()


def grey_thumbnail(picture: Image.Image) -> np.ndarray:
    """uint8 (32, 32), each pixel the mean of its box."""
    return np.asarray(picture.convert("L").resize((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.BOX))
