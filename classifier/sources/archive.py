"""A zip of photos, read member by member: nothing is unpacked onto the disk.

The whole directory of the archive is checked before the first photo is read, for a zip decides itself what it says
about its members: names that lead outside, one name twice, members that overlap or swell, links, encryption. Any of
these refuses the archive as a whole, with the member's name (Python's own `extractall` renames such members, and keeps
the last of two equal names). Python 3.11.7 does not notice overlapping members (CVE-2024-0450): we do.
"""

import stat
import unicodedata
import zipfile
import zlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from classifier.sources import directory
from classifier.sources.listing import Listing, SourceError, is_junk, too_large

LOCAL_HEADER_BYTES = 30  # in front of every member, then its name
UTF8_FLAG = 0x800
KINDS = {
    b"\x1f\x8b": "a gzip file",
    b"Rar!": "a RAR archive",
    b"7z\xbc\xaf": "a 7z archive",
    b"\xff\xd8\xff": "a JPEG picture",
    b"\x89PNG": "a PNG picture",
    b"BZh": "a bzip2 file",
    b"\xfd7zXZ": "an xz file",
}  # first bytes -> what people call it


@dataclass(frozen=True)
class ZipLimits:
    """What an archive may hold."""

    max_file_bytes: int = 2 * 1024**3  # the archive itself
    max_members: int = 200_000
    max_total_bytes: int = 4 * 1024**3  # unpacked
    max_member_bytes: int = 10 * 1024**2  # unpacked
    max_ratio: int = 200  # unpacked to packed, of one member
    max_depth: int = 8  # folders
    max_name_bytes: int = 255


def listing(file: Path, limits: ZipLimits = ZipLimits(), *, max_bytes: int | None = None) -> Listing:
    """The members of a zip by their paths; each can be read now and afterwards. Raises SourceError.

    Reading one with more than `max_bytes` raises Refused; one that the limits forbid refuses the whole archive.
    """
    archive = _opened(file, limits)
    files = {}
    folded: dict[str, str] = {}  # name in one spelling -> as it is written
    twins = []
    folders = set()
    for member in checked(archive, limits):
        name = _repaired(member)
        parts = PurePosixPath(name).parts
        if is_junk(parts):
            continue
        if member.is_dir():
            folders.add(parts)
            continue
        spelling = unicodedata.normalize("NFC", name)
        if spelling in folded and folded[spelling] != name:
            twins.append(spelling)  # both are kept: files are stored by their content
        folded[spelling] = name
        files[parts] = partial(_read, archive, member, max_bytes)
    notes = [f"{len(twins)} names are written in two ways that look the same, such as {twins[0]!r}."] if twins else []
    return Listing(file.name, files, tuple(notes), frozenset(folders))


def _opened(file: Path, limits: ZipLimits) -> zipfile.ZipFile:
    try:
        with file.open("rb") as opened:
            begin = opened.read(262)
            size = file.stat().st_size
            if begin[:4] not in (b"PK\x03\x04", b"PK\x05\x06"):
                kind = next((name for magic, name in KINDS.items() if begin.startswith(magic)), None)
                kind = kind or ("a tar archive" if begin[257:262] == b"ustar" else "something else")
                raise SourceError(f"{file.name} is not a zip archive but {kind}: send a zip.", "not_a_zip")
            if size > limits.max_file_bytes:
                raise SourceError(
                    f"{file.name} has {size} bytes, more than {limits.max_file_bytes}: divide it.", "too_large"
                )
            count = directory.count(opened, size, most=limits.max_members)
        if count > limits.max_members:
            raise SourceError(f"The archive holds more than {limits.max_members} members.", "too_many_files")
        return zipfile.ZipFile(file)
    except FileNotFoundError as error:
        raise SourceError(f"There is no file {file.name}.", "not_found") from error
    except (zipfile.BadZipFile, directory.NoDirectory, NotImplementedError, OSError, ValueError) as error:
        if isinstance(error, SourceError):
            raise
        raise SourceError(f"{file.name} is not a readable zip archive ({error}).", "not_a_zip") from error


def checked(archive: zipfile.ZipFile, limits: ZipLimits) -> list[zipfile.ZipInfo]:
    """The members of an archive that keeps the limits; raises SourceError for one that does not."""
    members = archive.infolist()
    seen: set[str] = set()
    total_bytes = 0
    for member in members:
        problem = _name_problem(member, limits) or _content_problem(member, limits)
        path = str(PurePosixPath(member.orig_filename))  # "a//b.jpg" and "a/./b.jpg" are one
        if path in seen:
            problem = "duplicate_name", "occurs twice"
        if problem:
            code, words = problem
            raise SourceError(f"The archive's member {member.orig_filename[:300]!r} {words}.", code)
        seen.add(path)
        total_bytes += member.file_size
    if total_bytes > limits.max_total_bytes:
        raise SourceError(
            f"The archive unpacks to {total_bytes} bytes, more than {limits.max_total_bytes}.", "too_large"
        )
    end = 0
    for member in sorted(members, key=lambda member: member.header_offset):
        if member.header_offset < end:
            raise SourceError(
                f"The archive's member {member.filename!r} overlaps the one before it.", "overlapping_members"
            )
        end = member.header_offset + LOCAL_HEADER_BYTES + len(member.orig_filename) + member.compress_size
    return members


def _name_problem(member: zipfile.ZipInfo, limits: ZipLimits) -> tuple[str, str] | None:
    name = member.orig_filename  # before zipfile cuts it at a NUL
    path = PurePosixPath(name)
    if not name or "\\" in name or any(unicodedata.category(letter) == "Cc" for letter in name):
        return "unsafe_path", "has an unusable name"
    if path.is_absolute() or ".." in path.parts or name[1:2] == ":":
        return "unsafe_path", "has a name that leads outside the archive"
    if len(path.parts) > limits.max_depth + 1:
        return "too_deep", f"lies deeper than {limits.max_depth} folders"
    if any(len(part.encode(errors="surrogateescape")) > limits.max_name_bytes for part in path.parts):
        return "name_too_long", f"has a name longer than {limits.max_name_bytes} bytes"
    if any(not part.strip() for part in path.parts):
        return "bad_class_name", "has a name of spaces alone"
    return None


def _content_problem(member: zipfile.ZipInfo, limits: ZipLimits) -> tuple[str, str] | None:
    mode = member.external_attr >> 16
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "unsupported_member", "is a link or a device, not a file"
    if member.flag_bits & 0x1:
        return "encrypted", "is encrypted"
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return "unsupported_compression", "is packed by a method other than deflate"
    if member.file_size > limits.max_member_bytes:
        return "too_large", f"unpacks to {member.file_size} bytes, more than {limits.max_member_bytes}"
    if member.file_size > limits.max_ratio * max(member.compress_size, 1):
        return "ratio", f"unpacks to more than {limits.max_ratio} times its packed size"
    return None


def _repaired(member: zipfile.ZipInfo) -> str:
    """The name as it was meant: many programs write UTF-8 without saying so, which reads as `Ã¤` for `ä`."""
    if member.flag_bits & UTF8_FLAG:
        return member.filename
    try:
        repaired = member.filename.encode("cp437").decode("utf-8")
    except UnicodeError:
        return member.filename
    return member.filename if any(unicodedata.category(letter) == "Cc" for letter in repaired) else repaired


def _read(archive: zipfile.ZipFile, member: zipfile.ZipInfo, max_bytes: int | None) -> bytes:
    if max_bytes is not None and member.file_size > max_bytes:
        raise too_large(max_bytes)
    try:
        with archive.open(member) as opened:
            data = opened.read(member.file_size + 1)  # a member may hold more than it declares
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, OSError, EOFError) as error:
        raise SourceError(f"The archive's member {member.filename!r} cannot be read ({error}).", "corrupt") from error
    if len(data) != member.file_size:
        raise SourceError(f"The archive's member {member.filename!r} is not as long as it declares.", "corrupt")
    return data
