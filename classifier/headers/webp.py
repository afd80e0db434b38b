"""WebP chunks (RFC 9649): dimensions of VP8, VP8L and VP8X, animation, orientation."""

from __future__ import annotations

from classifier.headers import Header
from classifier.headers.exif import orientation
from classifier.problems import Refused

ANIMATION_FLAG = 0x02


def read(data: bytes, *, max_chunks: int) -> Header:
    """Walk the RIFF chunks of a WebP file; raise Refused where they lead nowhere."""
    end = 8 + int.from_bytes(data[4:8], "little")
    if end > len(data) or len(data) < 30:
        raise _cut()
    size: tuple[int, int] | None = None
    canvas: tuple[int, int] | None = None
    upright, animated, frames = 1, False, 0
    position = 12
    for _ in range(max_chunks):
        if position + 8 > end:
            break
        kind, body = data[position : position + 4], position + 8
        length = int.from_bytes(data[position + 4 : body], "little")
        if body + length > end:
            raise _cut()
        if kind == b"VP8X":
            canvas = (
                1 + int.from_bytes(data[body + 4 : body + 7], "little"),
                1 + int.from_bytes(data[body + 7 : body + 10], "little"),
            )
            animated = bool(data[body : body + 1] and data[body] & ANIMATION_FLAG)
        elif kind == b"VP8 ":
            if data[body + 3 : body + 6] != b"\x9d\x01\x2a":
                raise _damaged("no key frame")
            size = (
                int.from_bytes(data[body + 6 : body + 8], "little") & 0x3FFF,
                int.from_bytes(data[body + 8 : body + 10], "little") & 0x3FFF,
            )
        elif kind == b"VP8L":
            if data[body : body + 1] != b"\x2f":
                raise _damaged("no lossless signature")
            bits = int.from_bytes(data[body + 1 : body + 5], "little")
            size = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
        elif kind == b"ANMF":
            frames += 1
        elif kind == b"EXIF":
            upright = orientation(data[body : body + length])
        position = body + length + length % 2
    else:
        raise Refused(
            "image_too_complex",
            f"This WebP has more than {max_chunks:,} chunks. Open it in a picture program and save it again.",
            max_chunks=max_chunks,
        )
    if size is None and not frames:
        raise _damaged("no picture")
    width, height = canvas or size or (0, 0)
    if not (width and height) or (canvas and size and canvas != size):
        raise _damaged("a size that cannot be")
    return Header("WEBP", width, height, animated=animated and frames > 1, orientation=upright, essential=((0, end),))


def _cut() -> Refused:
    return Refused("image_truncated", "This WebP ends too early: part of the picture is missing. Send the whole file.")


def _damaged(what: str) -> Refused:
    return Refused("image_corrupt", f"This WebP is damaged: it has {what}. Try the original file.")
