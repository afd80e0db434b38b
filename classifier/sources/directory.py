"""How many members a zip has, counted on its directory before `zipfile` makes an object of each.

A million empty members fit into 46 MB; as objects they take a gigabyte and many seconds.
"""

import struct
from typing import BinaryIO

END = struct.Struct("<4s4H2LH")  # end of central directory
END64_LOCATOR = struct.Struct("<4sLQL")
END64 = struct.Struct("<4sQ2H2L4Q")
ENTRY_BYTES = 46  # of a member in the directory, then name, extra field and comment
LONGEST_COMMENT = 65_535


class NoDirectory(ValueError):
    """The file ends without the directory of a zip."""


def count(file: BinaryIO, size: int, *, most: int) -> int:
    """The number of members, or `most` + 1 where there are more. Raises NoDirectory."""
    tail_bytes = min(size, END.size + LONGEST_COMMENT)
    file.seek(size - tail_bytes)
    tail = file.read(tail_bytes)
    place = tail.rfind(b"PK\x05\x06")
    if place < 0 or len(tail) - place < END.size:
        raise NoDirectory("its directory is missing: it was cut off")
    end = size - tail_bytes + place
    _, _, _, _, _, length, start, _ = END.unpack_from(tail, place)
    if 0xFFFFFFFF in (length, start):
        length, end = _of_zip64(file, end)
    begin = end - length  # as zipfile has it: bytes in front of the archive shift every offset
    if begin < 0:
        raise NoDirectory("its directory is longer than the file")
    return _walk(file, begin, length, most)


def _of_zip64(file: BinaryIO, end: int) -> tuple[int, int]:
    """(bytes of the directory, where it ends) of an archive whose numbers need 64 bits."""
    if end < END64_LOCATOR.size + END64.size:
        raise NoDirectory("its directory is damaged")
    file.seek(end - END64_LOCATOR.size - END64.size)
    magic, *_, length, _ = END64.unpack(file.read(END64.size))
    if magic != b"PK\x06\x06":
        raise NoDirectory("its directory is damaged")
    return length, end - END64_LOCATOR.size - END64.size


def _walk(file: BinaryIO, begin: int, length: int, most: int) -> int:
    found, place = 0, begin
    while found <= most and place + ENTRY_BYTES <= begin + length:
        file.seek(place)  # stays within the buffer
        entry = file.read(ENTRY_BYTES)
        if entry[:4] != b"PK\x01\x02":
            raise NoDirectory("its directory is damaged")
        place += ENTRY_BYTES + sum(struct.unpack_from("<3H", entry, 28))
        found += 1
    return found
