"""A zip on its way in pieces, where hosts share a storage: each piece goes there as it comes, so that the next one may
come to any web server, and whoever needs the whole puts it together.

An object is one piece: <name>/<offset>-<total>, both in bytes. Without a storage the file lies where it grows.
"""

import errno
import logging
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from breedsite.storage import Broken, Entry, Piece, named, store
from classifier.uploads import Pieces, UploadError, WrongPlace

log = logging.getLogger(__name__)

TOGETHER = 16  # pieces that are fetched at a time, and lie beside the file for a moment


@dataclass(frozen=True)
class Chain:
    """What of a file is there without a gap from its beginning on."""

    entries: list[Entry]
    offsets: list[int]  # bytes
    length: int  # bytes
    total: int  # bytes that there should be

    @property
    def is_whole(self) -> bool:
        return 0 < self.length == self.total


def chain(name: str) -> Chain:
    """What is there of the file of this name. Raises StorageAway."""
    found: dict[int, Entry] = {}
    total = length = 0
    for entry in store().entries(f"{name}/"):
        offset, _, size = named(entry).rpartition("/")[2].partition("-")
        if offset.isdecimal() and size.isdecimal():
            total = int(size)
            if int(offset) not in found or found[int(offset)].modified < entry.modified:  # else it was sent again
                found[int(offset)] = entry
    offsets = []
    while length in found and found[length].bytes:
        offsets.append(length)
        length += found[length].bytes
    return Chain([found[offset] for offset in offsets], offsets, length, total)


def append(growing: Pieces, name: str, data: bytes, *, offset: int, total: int) -> int:
    """Take a piece, here and there; how many bytes are here now. Raises WrongPlace, UploadError, StorageAway,
    OSError."""
    if growing.received != offset:
        catch_up(growing, name)
    here = growing.append(data, offset=offset, total=total)
    if store().on:
        with passing(growing.unfinished) as file:
            file.write_bytes(data)
            store().push([Piece(f"{name}/{offset:012d}-{total:012d}", file)])
    return here


def catch_up(growing: Pieces, name: str) -> int:
    """Append what came to other hosts; how many bytes are here now. Raises StorageAway, OSError."""
    if store().on:
        found = chain(name)
        left = [pair for pair in zip(found.offsets, found.entries, strict=True) if pair[0] >= growing.received]
        for start in range(0, len(left), TOGETHER):
            add(growing, left[start : start + TOGETHER])
    return growing.received


def add(growing: Pieces, some: list[tuple[int, Entry]]) -> None:
    """These pieces, in their order. One that is damaged ends it, and goes: it is to be sent again."""
    growing.unfinished.parent.mkdir(parents=True, exist_ok=True)
    with passing(growing.unfinished) as file:
        parts = [file.with_name(f"{file.name}-{offset}") for offset, _ in some]
        try:
            sound = fetched([entry for _, entry in some], parts)
            with suppress(WrongPlace):  # somebody else appends the same
                for (offset, entry), part in zip(some[:sound], parts, strict=False):
                    growing.append(part.read_bytes(), offset=offset, total=offset + entry.bytes)
        except UploadError as error:
            raise OSError(errno.ENOSPC, str(error)) from error
        finally:
            for part in parts:
                part.unlink(missing_ok=True)


def fetched(entries: list[Entry], parts: list[Path]) -> int:
    """Get these objects; how many of them, from the first on, are sound. Raises StorageAway, OSError."""
    files = [Piece(named(one), part, one.name.rpartition(".")[2]) for one, part in zip(entries, parts, strict=True)]
    try:
        return store().fetch(files)
    except Broken:  # one of them
        for number, piece in enumerate(files):
            try:
                store().fetch([piece])
            except Broken as error:
                log.warning("%s", error)
                store().take_away([entries[number].name])
                return number
    return len(files)


@contextmanager
def passing(beside: Path) -> Iterator[Path]:
    """The name of a file for a moment."""
    file = beside.with_name(f".{secrets.token_hex(8)}.part")
    try:
        yield file
    finally:
        file.unlink(missing_ok=True)


def share(file: Path, name: str) -> None:
    """See to it that the storage has all of a file: its pieces or, where one did not arrive, one of the whole. Raises
    StorageAway, OSError."""
    if store().on:
        size = file.stat().st_size
        found = chain(name)
        if (found.length, found.total) != (size, size):
            store().remove(f"{name}/")
            store().push([Piece(f"{name}/{0:012d}-{size:012d}", file)])


def bring(growing: Pieces, name: str) -> bool:
    """Put the file together here. False where the storage has not the whole of it. Raises StorageAway, OSError."""
    return store().on and chain(name).is_whole and catch_up(growing, name) == chain(name).total
