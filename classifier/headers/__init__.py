"""What a picture file says about itself, read from its markers without decoding a pixel: one module a format.

Every reader takes the bytes of a file and returns a `Header`; what it cannot follow it refuses. The walk costs a few
microseconds a marker whatever the file says, because pixel data and padding are skipped by searches in C.
"""

from __future__ import annotations

from dataclasses import dataclass

ACCEPTED = ("JPEG", "PNG", "WEBP")


@dataclass(frozen=True)
class Header:
    """`essential` are the (start, stop) ranges that draw the picture; all else is metadata that no decoder need see."""

    format: str  # "JPEG", "PNG" or "WEBP"
    width: int  # pixels, as stored: before the orientation is applied
    height: int
    animated: bool = False
    orientation: int = 1  # EXIF tag 0x0112, 1..8
    scans: int = 1
    essential: tuple[tuple[int, int], ...] = ()
    picture_bytes: int = 0  # of pixel data that the file holds
    least_bytes: int = 0  # below which no encoder gets at this size: with less, the size is a lie

    @property
    def pixels(self) -> int:
        return self.width * self.height

    def stripped(self, data: bytes) -> bytes:
        """What the decoder is given: no trailing bytes; of JPEG and PNG no EXIF, XMP, profile, text or second frame.

        WebP keeps them: its sizes would have to be written anew, and its decoder does not look at metadata.
        """
        view = memoryview(data)
        return b"".join(view[start:stop] for start, stop in self.essential)
