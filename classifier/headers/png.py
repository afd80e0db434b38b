"""PNG chunks (W3C PNG, third edition): dimensions, end, animation, orientation; compressed text that explodes."""

from __future__ import annotations

import zlib

from classifier.headers import Header
from classifier.headers.exif import orientation
from classifier.problems import Refused

KEPT = frozenset((b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"))
COMPRESSED = frozenset((b"zTXt", b"iCCP", b"iTXt"))
DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}  # colour type -> bits a sample
SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # colour type -> samples a pixel
MAX_TEXT_BYTES = 1024 * 1024  # of one chunk, unpacked: an attack on any reader, though this one drops it
MAX_ALL_TEXT_BYTES = 16 * 1024 * 1024  # of all chunks: unpacking takes two milliseconds a megabyte
DEFLATE_RATIO = 1032  # no byte of deflate unpacks to more


def read(data: bytes, *, max_chunks: int) -> Header:
    """Walk the chunks up to IEND; raise Refused where they lead nowhere."""
    if len(data) < 33:
        raise _cut()
    if data[8:16] != b"\0\0\0\rIHDR":
        raise _damaged("no header")
    width, height = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    depth, colour, compression, filtering = data[24:28]
    if not (width and height and depth in DEPTHS.get(colour, ()) and not compression and not filtering):
        raise _damaged("a header that cannot be")
    essential = [(0, 8)]
    upright, animated, picture_bytes, text_bytes = 1, False, 0, 0
    position = 8
    for _ in range(max_chunks):
        start, body = position, position + 8
        kind = data[start + 4 : body]
        stop = body + int.from_bytes(data[start : start + 4], "big") + 4  # + checksum
        if stop > len(data):
            raise _cut()
        position = stop
        if kind in KEPT:
            if zlib.crc32(data[start + 4 : stop - 4]) != int.from_bytes(data[stop - 4 : stop], "big"):
                raise _damaged("a wrong checksum")  # Pillow does not look at those of the pixels
            essential.append((start, stop))
            if kind == b"IDAT":
                picture_bytes += stop - body - 4
            elif kind == b"IEND":
                break
        elif kind == b"acTL":
            animated = animated or int.from_bytes(data[body : body + 4], "big") > 1
        elif kind == b"eXIf":
            upright = orientation(data[body : stop - 4])
        elif kind in COMPRESSED:
            unpacked = _unpacked_bytes(data[body : stop - 4], kind)
            text_bytes += unpacked
            if unpacked > MAX_TEXT_BYTES or text_bytes > MAX_ALL_TEXT_BYTES:
                raise _complex("text or a colour profile that unpacks to megabytes", max_text_bytes=MAX_TEXT_BYTES)
    else:
        raise _complex(f"more than {max_chunks:,} chunks", max_chunks=max_chunks)
    if not picture_bytes:
        raise _damaged("no picture")
    return Header(
        "PNG",
        width,
        height,
        animated=animated,
        orientation=upright,
        essential=tuple(essential),
        picture_bytes=picture_bytes,
        least_bytes=width * height * depth * SAMPLES[colour] // (8 * DEFLATE_RATIO),
    )


def _unpacked_bytes(body: bytes, kind: bytes) -> int:
    """How long the compressed text of a chunk is, counted to just above the limit for one; the text is thrown away."""
    _, _, rest = body.partition(b"\0")
    if kind == b"iTXt":
        if rest[:1] != b"\1":
            return 0  # not compressed
        rest = rest[2:].partition(b"\0")[2].partition(b"\0")[2]  # without language and translated keyword
    else:
        rest = rest[1:]  # method
    try:
        return len(zlib.decompressobj().decompress(rest, MAX_TEXT_BYTES + 1))
    except zlib.error:
        return 0  # unreadable text harms nobody: it is dropped


def _cut() -> Refused:
    return Refused("image_truncated", "This PNG ends too early: part of the picture is missing. Send the whole file.")


def _damaged(what: str) -> Refused:
    return Refused("image_corrupt", f"This PNG is damaged: it has {what}. Try the original file.")


def _complex(what: str, **details: int) -> Refused:
    return Refused(
        "image_too_complex", f"This PNG has {what}. Open it in a picture program and save it again.", **details
    )
