"""Where shared files lie: a folder that every host mounts, or a bucket of S3. Both are storages of Django with a walk.

`STORAGES["shared"]` names one of them. What Django's own interface lacks is added: objects appear whole or not at all,
are read in a stream, and are listed with all that lies below a name.
"""

import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol
from urllib.parse import unquote, urlsplit

from django.core.files.storage import FileSystemStorage

MARK = ".breedsite"  # in the folder: without it the folder is not mounted
CONNECT_SECONDS, READ_SECONDS, TRIES = 5, 30, 3  # of one request to S3
CONNECTIONS = 32  # to S3, of one process
DELETED_AT_ONCE = 1000  # what one request of S3 takes


@dataclass(frozen=True)
class Entry:
    """An object of the storage."""

    name: str
    bytes: int
    modified: float  # seconds since 1970


class Backend(Protocol):
    """What `breedsite.storage` needs."""

    address: str
    away: tuple[type[Exception], ...]  # what says that it cannot be reached

    def begin(self) -> None: ...

    def check(self) -> None: ...

    def put(self, name: str, file: IO[bytes]) -> None: ...

    def chunks(self, name: str) -> Iterator[bytes]: ...

    def walk(self, prefix: str) -> Iterator[Entry]: ...

    def listdir(self, path: str) -> tuple[list[str], list[str]]: ...

    def remove(self, names: Iterable[str]) -> None: ...


class Folder(FileSystemStorage):
    """A folder. One that lacks its mark is not mounted, and nothing is written to the disk below."""

    away: tuple[type[Exception], ...] = (OSError,)

    def __init__(self, url: str) -> None:
        self.address = url
        self.root = Path(unquote(urlsplit(url).path))
        super().__init__(location=self.root)

    def begin(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        (self.root / MARK).touch()

    def check(self) -> None:
        if not (self.root / MARK).is_file():
            raise OSError(f"{self.root} has no {MARK}: mount it, or let `manage.py prepare` begin there")

    def put(self, name: str, file: IO[bytes]) -> None:
        self.check()
        place = Path(self.path(name))
        place.parent.mkdir(parents=True, exist_ok=True)
        part = place.with_name(f".{secrets.token_hex(8)}.part")
        try:
            with part.open("xb") as out:
                shutil.copyfileobj(file, out, 1024**2)
                out.flush()
                os.fsync(out.fileno())
            part.replace(place)
        finally:
            part.unlink(missing_ok=True)

    def chunks(self, name: str) -> Iterator[bytes]:
        """Raises FileNotFoundError."""
        self.check()
        with closing(self.open(name)) as opened:
            yield from opened.chunks(1024**2)

    def walk(self, prefix: str) -> Iterator[Entry]:
        self.check()
        for folder, folders, files in os.walk(self.root / prefix.rpartition("/")[0]):
            inside = Path(folder).relative_to(self.root)
            folders[:] = [one for one in folders if begins(f"{inside / one}/", prefix)]
            for file in files:
                name = (inside / file).as_posix()
                with suppress(FileNotFoundError):  # it goes in this moment
                    if name.startswith(prefix) and name != MARK:
                        found = (self.root / name).stat()
                        yield Entry(name, found.st_size, found.st_mtime)

    def remove(self, names: Iterable[str]) -> None:
        """With the folders that become empty."""
        for name in names:
            file = Path(self.path(name))
            file.unlink(missing_ok=True)
            for folder in file.parents:
                if folder == self.root:
                    break
                try:
                    folder.rmdir()
                except OSError:  # there is more in it, or it is gone
                    break


def begins(folder: str, prefix: str) -> bool:
    """Whether names with this prefix may lie in the folder."""
    return folder.startswith(prefix) or prefix.startswith(folder)
