"""The orientation in an EXIF block, and nothing else of it.

Pillow's reader copies the value of every entry: a block of one megabyte whose 65,535 entries all point at the same
bytes becomes tens of gigabytes. Here one entry of the first directory is read, and garbage means "upright".
"""

from __future__ import annotations

ORIENTATION = 0x0112
SHORT = 3


def orientation(block: bytes) -> int:
    """A TIFF block, with or without "Exif\\0\\0" before it -> 1..8; 1 where it says nothing that can be followed."""
    if block.startswith(b"Exif\0\0"):
        block = block[6:]
    order = {b"II*\0": "little", b"MM\0*": "big"}.get(block[:4])
    if order is None:
        return 1

    def number(start: int, size: int) -> int:
        return int.from_bytes(block[start : start + size], "little" if order == "little" else "big")

    directory = number(4, 4)
    for position in range(directory + 2, directory + 2 + 12 * number(directory, 2), 12):
        entry = block[position : position + 12]
        if len(entry) < 12:
            break
        if number(position, 2) == ORIENTATION:
            value = number(position + 8, 2) if number(position + 2, 2) == SHORT else 1
            return value if 1 <= value <= 8 else 1
    return 1
