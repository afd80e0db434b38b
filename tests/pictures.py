"""Pictures for the tests, made from numbers, and the surgery that turns good files into strange ones."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterable, Iterator

import numpy as np
from PIL import Image


def smooth(seed: int, size: tuple[int, int] = (320, 240)) -> Image.Image:
    """An RGB picture of soft blobs: like a photo, it survives lossy encoding."""
    blobs = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(blobs).resize(size, Image.Resampling.BICUBIC)


def noise(seed: int, size: tuple[int, int] = (320, 240)) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


def random_bytes(count: int) -> bytes:
    """The same ones each time, whatever else was made before."""
    return np.random.default_rng(count).bytes(count)


def encode(picture: Image.Image, format: str = "JPEG", **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format, **options)
    return buffer.getvalue()


# --- JPEG


def segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def segments(jpeg: bytes) -> Iterator[tuple[int, int, int]]:
    """(marker, start, stop) of each segment of a good JPEG file; a scan's data belongs to its SOS."""
    position = 2
    while jpeg[position + 1] != 0xD9:
        marker = jpeg[position + 1]
        stop = position + 2 + int.from_bytes(jpeg[position + 2 : position + 4], "big")
        if marker == 0xDA:
            while jpeg[stop] != 0xFF or jpeg[stop + 1] == 0 or 0xD0 <= jpeg[stop + 1] <= 0xD7:
                stop += 1
        yield marker, position, stop
        position = stop


def find(jpeg: bytes, *markers: int) -> tuple[int, int]:
    """(start, stop) of the last segment with one of these markers."""
    return [(start, stop) for marker, start, stop in segments(jpeg) if marker in markers][-1]


def inserted(jpeg: bytes, *added: bytes) -> bytes:
    """The file with more segments right after its first marker."""
    return jpeg[:2] + b"".join(added) + jpeg[2:]


def patched(data: bytes, position: int, replacement: bytes) -> bytes:
    return data[:position] + replacement + data[position + len(replacement) :]


def with_frame(jpeg: bytes, **changes: int) -> bytes:
    """The file with another `marker`, `precision`, `height`, `width` or number of `components` in its frame header."""
    start, _ = find(jpeg, 0xC0, 0xC1, 0xC2)
    places = {"marker": (1, 1), "precision": (4, 1), "height": (5, 2), "width": (7, 2), "components": (9, 1)}
    for name, value in changes.items():
        offset, size = places[name]
        jpeg = patched(jpeg, start + offset, value.to_bytes(size, "big"))
    return jpeg


def with_flipped_bits(jpeg: bytes, count: int) -> bytes:
    changed = bytearray(jpeg)
    start, stop = find(jpeg, 0xDA)
    for position in np.random.default_rng(42).integers(start + 14, stop, count):
        changed[position] ^= 1 << (position % 8)
    return bytes(changed)


def without_tables(jpeg: bytes) -> bytes:
    while b"\xff\xc4" in jpeg[: find(jpeg, 0xDA)[0]]:
        jpeg = patched(jpeg, find(jpeg, 0xC4)[0], b"\xff\xfe")
    return jpeg


def scan_bomb(copies: int, size: tuple[int, int] = (6000, 6000)) -> bytes:
    """A progressive JPEG whose last scan is repeated: small to send, long to decode."""
    jpeg = encode(Image.new("RGB", size, (90, 120, 60)), progressive=True)
    start, stop = find(jpeg, 0xDA)
    return jpeg[:stop] + jpeg[start:stop] * copies + jpeg[stop:]


def ycck(picture: Image.Image) -> bytes:
    """CMYK the way Photoshop writes it: inverted, as YCCK, with Adobe's marker saying so."""
    negative = Image.fromarray(255 - np.asarray(picture)).convert("YCbCr")
    stored = [Image.fromarray(255 - np.asarray(channel)) for channel in negative.split()]  # Pillow inverts on writing
    jpeg = encode(Image.merge("CMYK", (*stored, Image.new("L", picture.size, 0))), quality=95, subsampling=0)
    start, _ = find(jpeg, 0xEE)
    return patched(jpeg, start + 15, b"\2")


# --- EXIF


def exif(orientation: int, order: str = ">") -> bytes:
    """A TIFF block with one entry, the orientation."""
    magic = b"MM\0*" if order == ">" else b"II*\0"
    return magic + struct.pack(f"{order}IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)


def exif_zero_denominator() -> bytes:
    """X resolution (0x011A), a rational, as 1/0."""
    return b"MM\0*\0\0\0\x08\0\1\x01\x1a\0\5\0\0\0\1\0\0\0\x1a\0\0\0\0\0\0\0\1\0\0\0\0"


def exif_segment(block: bytes) -> bytes:
    return segment(0xE1, b"Exif\0\0" + block)


def exif_bomb(value_bytes: int) -> bytes:
    """65,535 entries that all point at the same bytes: whoever copies each value needs 65,535 times as much."""
    entries = b"".join(struct.pack(">HHII", tag, 1, value_bytes, 8) for tag in range(65535))
    return b"MM\0*" + struct.pack(">I", 8) + struct.pack(">H", 65535) + entries + bytes(4 + value_bytes)


def stored_as(picture: Image.Image, orientation: int) -> Image.Image:
    """The pixels as a camera held that way stores them; turned by the orientation they are the picture again."""
    back = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    return picture.transpose(back[orientation]) if orientation in back else picture


def turned_jpeg(picture: Image.Image, orientation: int, order: str = ">", **options: object) -> bytes:
    """A JPEG that an EXIF reader shows as the picture and anyone else shows turned."""
    return inserted(encode(stored_as(picture, orientation), **options), exif_segment(exif(orientation, order)))


# --- PNG

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}  # samples a pixel -> grey, grey + alpha, RGB, RGBA


def chunk(kind: bytes, body: bytes = b"") -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(pixels: np.ndarray, *added: bytes) -> bytes:
    """uint8 or uint16 (H, W) or (H, W, samples) -> a PNG of that depth, with further chunks before its data."""
    pixels = pixels if pixels.ndim == 3 else pixels[:, :, None]
    high, wide, samples = pixels.shape
    rows = pixels.astype(pixels.dtype.newbyteorder(">")).reshape(high, -1).view(np.uint8)
    body = np.hstack((np.zeros((high, 1), np.uint8), rows)).tobytes()  # filter 0 before each row
    return png_of(wide, high, 8 * pixels.dtype.itemsize, COLOUR_TYPES[samples], [zlib.compress(body)], *added)


def png_of(wide: int, high: int, depth: int, colour: int, data: Iterable[bytes], *added: bytes) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", wide, high, depth, colour, 0, 0, 0))
    return b"".join((PNG_SIGNATURE, header, *added, *(chunk(b"IDAT", part) for part in data), chunk(b"IEND")))


def with_bad_checksum(data: bytes) -> bytes:
    return patched(data, data.rindex(b"IEND") - 8, b"\0\0\0\0")


def png_bomb(side: int) -> bytes:
    """A true black 1-bit PNG of side x side pixels in a few kilobytes."""
    packer = zlib.compressobj(9)
    row = bytes(1 + -(-side // 8))
    return png_of(side, side, 1, 0, [b"".join([packer.compress(row) for _ in range(side)]) + packer.flush()])


# --- WebP


def riff(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def webp_of(*chunks: bytes) -> bytes:
    body = b"WEBP" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body
