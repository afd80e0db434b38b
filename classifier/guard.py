"""Is this upload safe to decode? Decided on the header and the markers, before any decoder sees the file.

A 30 KB JPEG with forged dimensions costs 1.7 GB, a 155 KB one with many scans costs seconds of C code that nothing can
interrupt, and a legal 65500 x 1 strip becomes 13 GB when its shorter side is resized: all are refused here, in
milliseconds.
"""

from __future__ import annotations

from dataclasses import dataclass

from classifier.headers import ACCEPTED, Header, jpeg, png, webp
from classifier.headers.sniff import advice, sniff
from classifier.problems import Refused

__all__ = ["ACCEPTED", "Header", "Limits", "Refused", "check"]


@dataclass(frozen=True)
class Limits:
    """What a picture may be. The defaults admit every photo of a phone or camera up to 50 megapixels."""

    max_bytes: int = 10 * 1024 * 1024
    max_pixels: int = 50_000_000
    max_webp_pixels: int = 40_000_000  # its decoder holds four copies: 50 megapixels take 800 MB
    max_side: int = 16_000  # pixels
    min_side: int = 32  # pixels
    max_aspect: float = 20.0  # longer side / shorter side
    max_scans: int = 100  # of a progressive JPEG; real ones have 1 to 12
    max_scan_pixels: int = 1_000_000_000  # scans x pixels: each scan passes over the whole picture
    max_markers: int = 5_000  # of a JPEG
    max_chunks: int = 150_000  # of a PNG or WebP


def check(data: bytes, limits: Limits = Limits()) -> Header:
    """The header of a file that is safe to decode; raise Refused, with the code and a sentence, for any other."""
    if not data:
        raise Refused("image_empty", "This file is empty. Choose it again.")
    if len(data) > limits.max_bytes:
        raise Refused(
            "file_too_large",
            f"This file is larger than the {round(limits.max_bytes / 1024**2, 2):g} MB that are accepted.",
            limit_bytes=limits.max_bytes,
        )
    detected = sniff(data)
    if detected == "JPEG":
        header = jpeg.read(data, max_scans=limits.max_scans, max_markers=limits.max_markers)
    elif detected == "PNG":
        header = png.read(data, max_chunks=limits.max_chunks)
    elif detected == "WEBP":
        header = webp.read(data, max_chunks=limits.max_chunks)
    else:
        raise Refused("unsupported_format", advice(detected), detected=detected or "unknown", accepted=list(ACCEPTED))
    _measure(header, limits)
    if header.scans * header.pixels > limits.max_scan_pixels:
        raise Refused(
            "image_too_complex",
            f"This JPEG has {header.scans} scans, too many for its size. Save it again in a picture program.",
            max_scan_pixels=limits.max_scan_pixels,
        )
    if header.picture_bytes < header.least_bytes:
        raise Refused(
            "image_truncated",
            f"This file holds far too little data for its stated {header.width} x {header.height} pixels. "
            "Send the whole file.",
        )
    return header


def _measure(header: Header, limits: Limits) -> None:
    width, height = header.width, header.height
    shorter, longer = sorted((width, height))
    most = min(limits.max_pixels, limits.max_webp_pixels) if header.format == "WEBP" else limits.max_pixels
    if header.pixels > most:
        raise Refused(
            "image_too_many_pixels",
            f"This picture has {width} x {height} pixels; at most {most / 1e6:g} megapixels are accepted. "
            "Make it smaller first.",
            max_pixels=most,
        )
    if longer > limits.max_aspect * shorter:
        raise Refused(
            "image_bad_shape",
            f"This picture is {width} x {height} pixels; its longer side may be at most {limits.max_aspect:g} times "
            "the shorter one. Crop it.",
            max_aspect=limits.max_aspect,
        )
    if shorter < limits.min_side:
        raise Refused(
            "image_too_small",
            f"This picture is {width} x {height} pixels; each side needs at least {limits.min_side}.",
            min_side=limits.min_side,
        )
    if longer > limits.max_side:
        raise Refused(
            "image_bad_shape",
            f"This picture is {width} x {height} pixels; at most {limits.max_side:,} on a side. Make it smaller.",
            max_side=limits.max_side,
        )
