"""JPEG markers (ITU-T T.81, annex B): dimensions, scans, end of image, orientation."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from classifier.headers import ACCEPTED, Header
from classifier.headers.exif import orientation
from classifier.problems import Refused

EOI, SOS, DHT, APP1 = 0xD9, 0xDA, 0xC4, 0xE1
STANDALONE = frozenset((0x00, 0x01, *range(0xD0, 0xD9)))  # restarts, a second start of image: not between segments
BASELINE, PROGRESSIVE = (0xC0, 0xC1), (0xC2,)
ARITHMETIC = (0xC9, 0xCA)
LOSSLESS_OR_HIERARCHICAL = (0xC3, 0xC5, 0xC6, 0xC7, 0xCB, 0xCD, 0xCE, 0xCF)
FRAMES = (*BASELINE, *PROGRESSIVE, *ARITHMETIC, *LOSSLESS_OR_HIERARCHICAL)
KEPT = frozenset((*FRAMES, DHT, SOS, EOI, 0xDB, 0xDD, 0xE0, 0xEE))  # + quantization, restart interval, JFIF, Adobe

END_OF_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # neither a stuffed byte nor a restart nor padding
PADDING = re.compile(rb"\xff+")


def read(data: bytes, *, max_scans: int, max_markers: int) -> Header:
    """Walk the markers of the first picture in the file, up to its end; raise Refused where they lead nowhere."""
    essential = [(0, 2)]
    frame: _Frame | None = None
    upright, scans, scan_bytes, huffman = 1, 0, 0, False
    for marker, start, body, stop in _segments(data, max_markers):
        if marker in KEPT:
            essential.append((start, stop))
        if marker in FRAMES:
            if frame is not None:
                raise _damaged("two frames")
            frame = _frame(data[body:stop], marker)
        elif marker == DHT:
            huffman = True
        elif marker == APP1 and upright == 1 and data.startswith(b"Exif\0\0", body):
            upright = orientation(data[body:stop])
        elif marker == SOS:
            if frame is None:
                raise _damaged("a scan before its frame")
            scans += 1
            scan_bytes += stop - body
            if scans > max_scans:
                raise _complex(f"more than {max_scans} scans", max_scans=max_scans)
    if frame is None or not scans:
        raise _damaged("no picture")
    if frame.marker in ARITHMETIC and not huffman:
        raise _unsupported("arithmetic-coded")
    if huffman is (frame.marker in ARITHMETIC):
        raise _damaged("not the tables that its coding needs")
    return Header(
        "JPEG",
        frame.width,
        frame.height,
        orientation=upright,
        scans=scans,
        essential=tuple(essential),
        picture_bytes=scan_bytes,
        least_bytes=frame.least_bytes,
    )


def _segments(data: bytes, max_markers: int) -> Iterator[tuple[int, int, int, int]]:
    """(marker, start, start of the body, stop) of each segment up to EOI; the data of a scan belongs to its SOS."""
    position = 2
    for _ in range(max_markers):
        padding = PADDING.match(data, position)
        if padding is None:
            raise _cut() if position >= len(data) else _damaged("bytes between its segments")
        start, body = padding.end() - 1, padding.end() + 3
        if start + 2 > len(data):
            raise _cut()
        marker = data[start + 1]
        if marker == EOI:
            yield marker, start, start + 2, start + 2
            return
        if marker in STANDALONE:
            raise _damaged("a marker in the wrong place")
        if body > len(data):
            raise _cut()
        length = int.from_bytes(data[body - 2 : body], "big")
        stop = body - 2 + length
        if length < 2:
            raise _damaged("a segment without length")
        if stop > len(data):
            raise _cut()
        if marker == SOS:
            end = END_OF_SCAN.search(data, stop)
            if end is None:
                raise _cut()
            stop = end.start()
        yield marker, start, body, stop
        position = stop
    raise _complex(f"more than {max_markers:,} segments", max_markers=max_markers)


@dataclass(frozen=True)
class _Frame:
    marker: int
    width: int
    height: int
    least_bytes: int  # of pixel data: one bit for each code that no encoder can leave out


def _frame(segment: bytes, marker: int) -> _Frame:
    if segment and segment[0] != 8:
        raise _unsupported(f"{segment[0]}-bit")
    if marker in LOSSLESS_OR_HIERARCHICAL:
        raise _unsupported("lossless or hierarchical")
    if len(segment) < 6 or segment[5] not in (1, 3, 4) or len(segment) != 6 + 3 * segment[5]:
        raise _damaged("a frame that cannot be")
    height, width = int.from_bytes(segment[1:3], "big"), int.from_bytes(segment[3:5], "big")
    sampling = [(segment[at] >> 4, segment[at] & 15) for at in range(7, len(segment), 3)]
    if not (width and height and all(1 <= h <= 4 and 1 <= v <= 4 for h, v in sampling)):
        raise _damaged("a frame without size")
    most_h, most_v = max(h for h, _ in sampling), max(v for _, v in sampling)
    blocks = sum(-(-width * h // (8 * most_h)) * -(-height * v // (8 * most_v)) for h, v in sampling)
    codes = 2 if marker in BASELINE else 1  # a block: its mean and, unless a later scan may skip it, its end
    return _Frame(marker, width, height, blocks * codes // 8)


def _cut() -> Refused:
    return Refused("image_truncated", "This JPEG ends too early: part of the picture is missing. Send the whole file.")


def _damaged(what: str) -> Refused:
    return Refused("image_corrupt", f"This JPEG is damaged: it has {what}. Try the original file.")


def _complex(what: str, **details: int) -> Refused:
    return Refused(
        "image_too_complex", f"This JPEG has {what}. Open it in a picture program and save it again.", **details
    )


def _unsupported(kind: str) -> Refused:
    return Refused(
        "unsupported_format",
        f"This is a {kind} JPEG; only 8-bit baseline and progressive ones are read. Save it as an ordinary JPEG.",
        detected=f"JPEG, {kind}",
        accepted=list(ACCEPTED),
    )
