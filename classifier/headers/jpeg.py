"""JPEG markers (ITU-T T.81, annex B): dimensions, scans, end of image, orientation."""

from __future__ import annotations

import re

from classifier.headers import Header
from classifier.headers.exif import orientation
from classifier.problems import Refused

SOI, EOI, SOS, DHT, APP1, TEM = 0xD8, 0xD9, 0xDA, 0xC4, 0xE1, 0x01
BASELINE, PROGRESSIVE = (0xC0, 0xC1), (0xC2,)
ARITHMETIC = (0xC9, 0xCA)
LOSSLESS_OR_HIERARCHICAL = (0xC3, 0xC5, 0xC6, 0xC7, 0xCB, 0xCD, 0xCE, 0xCF)
FRAMES = (*BASELINE, *PROGRESSIVE, *ARITHMETIC, *LOSSLESS_OR_HIERARCHICAL)
KEPT = frozenset((*FRAMES, DHT, SOS, 0xDB, 0xDD, 0xE0, 0xEE))  # + quantization, restart interval, JFIF, Adobe

END_OF_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # neither a stuffed byte nor a restart nor padding
PADDING = re.compile(rb"\xff+")


def read(data: bytes, *, max_scans: int, max_markers: int) -> Header:
    """Walk the markers of the first picture in the file, up to its end; raise Refused where they lead nowhere."""
    essential = [(0, 2)]
    frame: tuple[int, int, int, int] | None = None  # width, height, bits that its blocks need at least, marker
    upright, scans, scan_bytes, huffman = 1, 0, 0, False
    position = 2
    for _ in range(max_markers):
        padding = PADDING.match(data, position)
        if padding is None:
            raise _cut() if position >= len(data) else _damaged("bytes between its segments")
        start, position = padding.end() - 1, padding.end() + 1
        if position > len(data):
            raise _cut()
        marker = data[position - 1]
        if marker == EOI:
            essential.append((start, position))
            break
        if marker in (SOI, 0x00, TEM) or 0xD0 <= marker <= 0xD7:
            raise _damaged("a marker in the wrong place")
        length = int.from_bytes(data[position : position + 2], "big")
        stop = position + length
        if stop > len(data) or position + 2 > len(data):
            raise _cut()
        if length < 2:
            raise _damaged("a segment without length")
        if marker in FRAMES:
            if frame is not None:
                raise _damaged("two frames")
            frame = _frame(data[position + 2 : stop], marker)
        elif marker == DHT:
            huffman = True
        elif marker == APP1 and upright == 1 and data.startswith(b"Exif\0\0", position + 2):
            upright = orientation(data[position + 2 : stop])
        elif marker == SOS:
            if frame is None:
                raise _damaged("a scan before its frame")
            scans += 1
            if scans > max_scans:
                raise Refused(
                    "image_too_complex",
                    f"This JPEG has more than {max_scans} scans. Open it in a picture program and save it again.",
                    max_scans=max_scans,
                )
            found = END_OF_SCAN.search(data, stop)
            if found is None:
                raise _cut()
            scan_bytes += found.start() - stop
            stop = found.start()
        if marker in KEPT:
            essential.append((start, stop))
        position = stop
    else:
        raise Refused(
            "image_too_complex",
            f"This JPEG has more than {max_markers:,} segments. Open it in a picture program and save it again.",
            max_markers=max_markers,
        )
    if frame is None or not scans:
        raise _damaged("no picture")
    width, height, least_bits, marker = frame
    if marker in ARITHMETIC and not huffman:
        raise Refused(
            "unsupported_format",
            "JPEG with arithmetic coding is not supported. Save it as an ordinary JPEG.",
            detected="JPEG, arithmetic coding",
        )
    if huffman is (marker in ARITHMETIC):
        raise _damaged("not the tables that its coding needs")
    if scan_bytes * 8 < least_bits:
        raise _damaged(f"far too little data for its stated {width} x {height} pixels")
    return Header("JPEG", width, height, orientation=upright, essential=tuple(essential))


def _frame(segment: bytes, marker: int) -> tuple[int, int, int, int]:
    """-> width, height, the bits below which no encoder can get: one code a block and coefficient kind; the marker."""
    if marker in LOSSLESS_OR_HIERARCHICAL or (segment and segment[0] != 8):
        kind = f"{segment[0]}-bit" if segment and segment[0] != 8 else "lossless or hierarchical"
        raise Refused(
            "unsupported_format",
            f"This is a {kind} JPEG; only 8-bit baseline and progressive ones are read. Save it as an ordinary JPEG.",
            detected=f"JPEG, {kind}",
        )
    if len(segment) < 6 or segment[5] not in (1, 3, 4) or len(segment) != 6 + 3 * segment[5]:
        raise _damaged("a frame that cannot be")
    height, width = int.from_bytes(segment[1:3], "big"), int.from_bytes(segment[3:5], "big")
    sampling = [(segment[at] >> 4, segment[at] & 15) for at in range(7, len(segment), 3)]
    if not (width and height and all(1 <= h <= 4 and 1 <= v <= 4 for h, v in sampling)):
        raise _damaged("a frame without size")
    most_h, most_v = max(h for h, _ in sampling), max(v for _, v in sampling)
    blocks = sum(-(-width * h // (8 * most_h)) * -(-height * v // (8 * most_v)) for h, v in sampling)
    return width, height, blocks * (2 if marker in BASELINE else 1), marker


def _cut() -> Refused:
    return Refused("image_truncated", "This JPEG ends too early: part of the picture is missing. Send the whole file.")


def _damaged(what: str) -> Refused:
    return Refused("image_corrupt", f"This JPEG is damaged: it has {what}. Try the original file.")
