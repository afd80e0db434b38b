"""A zip of class folders, read member by member: nothing is unpacked onto the disk.

The whole directory of the archive is checked before the first photo is yielded, for a zip decides itself what it says
about its members: names that lead outside, one name twice, members that overlap or swell, links, encryption. Any of
these refuses the archive as a whole, with the member's name (Python's own `extractall` renames such members, and keeps
the last of two equal names). Python 3.11.7 does not notice overlapping members (CVE-2024-0450): we do.
"""

import stat
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from trainer.ingest.record import PHOTO_SUFFIXES, Record, SourceError, is_junk

LOCAL_HEADER_BYTES = 30  # in front of every member, then its name


@dataclass(frozen=True)
class ZipLimits:
    """What an archive may hold."""

    max_members: int = 200_000
    max_total_bytes: int = 4 * 1024**3  # unpacked
    max_member_bytes: int = 10 * 1024**2  # unpacked
    max_ratio: int = 200  # unpacked to packed, of one member
    max_depth: int = 8  # folders
    max_name_bytes: int = 255


def records(file: Path, limits: ZipLimits = ZipLimits()) -> Iterator[Record]:
    """The photos in the class folders of a zip, in the order of their names; their `read` works while this iterates
    and afterwards. A single folder around all others is passed through. Raises SourceError.
    """
    try:
        archive = zipfile.ZipFile(file)
    except FileNotFoundError as error:
        raise SourceError(f"There is no file {file}.") from error
    except (zipfile.BadZipFile, OSError) as error:
        raise SourceError(f"{file} is not a readable zip archive ({error}).") from error
    members = checked(archive, limits)
    photos = {}
    for member in members:
        parts = PurePosixPath(member.filename).parts
        if not member.is_dir() and not is_junk(parts) and PurePosixPath(parts[-1]).suffix.lower() in PHOTO_SUFFIXES:
            photos[parts] = member
    if photos and len({parts[0] for parts in photos}) == 1 and all(len(parts) > 2 for parts in photos):
        photos = {parts[1:]: member for parts, member in photos.items()}
    if not any(len(parts) == 2 for parts in photos):
        raise SourceError(f"{file} holds no class folder: put the photos of each label into a folder of its name.")
    for parts, member in sorted(photos.items()):
        if len(parts) == 2:
            yield Record("/".join(parts), parts[0], partial(_read, archive, member))


def checked(archive: zipfile.ZipFile, limits: ZipLimits) -> list[zipfile.ZipInfo]:
    """The members of an archive that keeps the limits; raises SourceError for one that does not."""
    members = archive.infolist()
    if len(members) > limits.max_members:
        raise SourceError(f"The archive holds {len(members)} members, more than {limits.max_members}.")
    seen: set[str] = set()
    total_bytes = 0
    for member in members:
        problem = _name_problem(member, limits) or _content_problem(member, limits)
        if member.filename.casefold() in seen:
            problem = "occurs twice"
        if problem:
            raise SourceError(f"The archive's member {member.filename[:300]!r} {problem}.")
        seen.add(member.filename.casefold())
        total_bytes += member.file_size
    if total_bytes > limits.max_total_bytes:
        raise SourceError(f"The archive unpacks to {total_bytes} bytes, more than {limits.max_total_bytes}.")
    end = 0
    for member in sorted(members, key=lambda member: member.header_offset):
        if member.header_offset < end:
            raise SourceError(f"The archive's member {member.filename!r} overlaps the one before it.")
        end = member.header_offset + LOCAL_HEADER_BYTES + len(member.orig_filename) + member.compress_size
    return members


def _name_problem(member: zipfile.ZipInfo, limits: ZipLimits) -> str | None:
    name = member.orig_filename  # before zipfile cuts it at a NUL
    path = PurePosixPath(name)
    if not name or "\0" in name or "\\" in name or any(ord(letter) < 32 for letter in name):
        return "has an unusable name"
    if path.is_absolute() or ".." in path.parts or name[1:2] == ":":
        return "has a name that leads outside the archive"
    if len(path.parts) > limits.max_depth + 1:
        return f"lies deeper than {limits.max_depth} folders"
    if any(len(part.encode(errors="surrogateescape")) > limits.max_name_bytes for part in path.parts):
        return f"has a name longer than {limits.max_name_bytes} bytes"
    return None


def _content_problem(member: zipfile.ZipInfo, limits: ZipLimits) -> str | None:
    mode = member.external_attr >> 16
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a link or a device, not a file"
    if member.flag_bits & 0x1:
        return "is encrypted"
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return "is packed by a method other than deflate"
    if member.file_size > limits.max_member_bytes:
        return f"unpacks to {member.file_size} bytes, more than {limits.max_member_bytes}"
    if member.file_size > limits.max_ratio * max(member.compress_size, 1):
        return f"unpacks to more than {limits.max_ratio} times its packed size"
    return None


def _read(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    try:
        with archive.open(member) as opened:
            data = opened.read(member.file_size + 1)  # a member may hold more than it declares
    except (zipfile.BadZipFile, OSError, EOFError) as error:
        raise SourceError(f"The archive's member {member.filename!r} cannot be read ({error}).") from error
    if len(data) > member.file_size:
        raise SourceError(f"The archive's member {member.filename!r} holds more than it declares.")
    return data
