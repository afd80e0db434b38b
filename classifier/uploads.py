"""A large file that a browser sends in pieces: each is written where the one before it ended.

A piece is as small as any other form, so the limits of the server hold for it too; a broken connection costs one piece,
and nothing of the file is ever in memory.
"""

import fcntl
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

MAX_BYTES = 2 * 1024**3
PIECE_BYTES = 2 * 1024**2
ZIP_STARTS = (b"PK\x03\x04", b"PK\x05\x06")


class UploadError(ValueError):
    """A piece that cannot be taken; `code` is one of classifier.problems."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


class WrongPlace(Exception):
    """The file has another length: go on from there."""

    def __init__(self, received: int) -> None:
        super().__init__(f"{received} bytes are here")
        self.received = received


class Pieces:
    """A file on its way. Only what knows its place is missing."""

    unfinished: Path

    @property
    def received(self) -> int:
        """Bytes."""
        try:
            return self.unfinished.stat().st_size
        except FileNotFoundError:
            return 0

    def append(self, data: bytes, *, offset: int, total: int) -> int:
        """Write one piece; the bytes that are there now. Raises WrongPlace, UploadError."""
        if not 0 < total <= MAX_BYTES or offset + len(data) > total:
            raise UploadError("file_too_large", f"A zip may have {MAX_BYTES // 1024**3} GB at most: divide it.")
        if offset == 0 and not data.startswith(ZIP_STARTS):
            raise UploadError("unsupported_format", "This is not a zip archive: send a zip.")
        folder = self.unfinished.parent
        folder.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(folder).free < 2 * (total - offset):  # the photos are kept beside it for a moment
            raise UploadError("storage_full", "There is not enough room on the server's disk for this file.")
        with self.unfinished.open("ab") as out:
            fcntl.flock(out, fcntl.LOCK_EX)
            if (there := os.fstat(out.fileno()).st_size) != offset:
                raise WrongPlace(there)
            out.write(data)
        return offset + len(data)


@dataclass(frozen=True)
class Growing(Pieces):
    """One that lies where its owner says."""

    unfinished: Path


@dataclass(frozen=True)
class Upload(Pieces):
    """One file on its way, of one person: nobody else's pieces or imports reach it."""

    folder: Path
    user: int
    key: UUID

    @property
    def unfinished(self) -> Path:  # type: ignore[override] # what others are told, this one knows
        return self.folder / f"{self.user}-{self.key}.part"

    @property
    def whole(self) -> Path:
        """Its last name."""
        return self.unfinished.with_suffix(".zip")

    def finish(self) -> Path:
        """The whole file under its last name; the same again for who asks twice, for it died between this and what it
        was to do with it. Raises UploadError where nothing came."""
        try:
            self.unfinished.rename(self.whole)
        except FileNotFoundError as error:
            if not self.whole.is_file():
                raise UploadError("missing_image", "The zip has not arrived: choose it again.") from error
        return self.whole
