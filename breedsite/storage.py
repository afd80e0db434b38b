"""Files that several hosts share, each of which has a DATA_DIR of its own: a copy of everything that a row names lies
in the storage of STORAGE_URL, and what a host reads is fetched from there once.

What is in the folders of DATA_DIR is what the code reads and writes, as without a storage. What came into being is
pushed before a row names it; what is missing is fetched before it is read. Objects never change: the name of each ends
with the sha256 of its content, so what was damaged on its way, or there, is found out. Without STORAGE_URL nothing of
this happens.

    store().push([Piece("versions/dogs-12ab/spec.json", file)])
    store().fetch([Piece("versions/dogs-12ab/spec.json", file, sha256)])
"""

import hashlib
import logging
import os
import re
import secrets
import time
from collections.abc import Callable, Container, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice
from pathlib import Path

from django.conf import settings
from django.core.files.storage import storages

from breedsite.backends import Backend, Entry
from breedsite.readcache import ReadCache

log = logging.getLogger(__name__)

DIGEST = re.compile(r"\.([0-9a-f]{64})\Z")
TOGETHER = 16  # objects on their way at a time
ROUND = 128  # objects between two looks whether to go on
WAIT_SECONDS = 60.0  # after which a job is tried again whose storage was away
ABANDONED_SECONDS = 24 * 3600.0  # after which an object that no row names has lost whoever was to name it
SWEEP_SECONDS = 3600.0  # between two looks for those


class StorageAway(OSError):
    """The storage does not answer now, or not as it should; the sentence says why."""


class Broken(LookupError):
    """An object is not there, or not what it was; the sentence names it."""


class Cut(Exception):
    """Whoever waited for the objects does not want them any more."""


@dataclass(frozen=True)
class Piece:
    """An object, and the file that it is here."""

    name: str  # without the digest: versions/dogs-12ab34/spec.json
    file: Path
    sha256: str = ""  # where it is known beforehand


def always() -> bool:
    return True


class Store:
    """What a process does with the storage; with none, nothing."""

    def __init__(self, backend: Backend | None) -> None:
        self.backend = backend
        self.swept: dict[str, float] = {}  # kind -> when it was last looked for, monotonic seconds

    @property
    def on(self) -> bool:
        return self.backend is not None

    @property
    def cache(self) -> ReadCache:
        """What of the storage lies here."""
        address = self.backend.address if self.backend else ""
        mark = hashlib.sha256(address.encode()).hexdigest()[:16]  # of another storage nothing is known
        roots = {"versions": settings.VERSIONS_DIR, "datasets": settings.DATASETS_DIR, "batches": settings.BATCHES_DIR}
        return ReadCache(Path(settings.DATA_DIR) / "storage" / mark, {kind: Path(one) for kind, one in roots.items()})

    def begin(self) -> None:
        """Make it ready for the first use. Raises StorageAway."""
        if self.backend:
            with self._reached():
                self.backend.begin()

    # --- there and back -------------------------------------------------------------------------------------------
    def push(self, pieces: Iterable[Piece], *, going: Callable[[], bool] = always) -> int:
        """Put copies of these files there; how many. Raises StorageAway, Cut, or OSError for a file of ours."""
        return self._each(self._push, pieces, going) if self.on else 0

    def fetch(self, pieces: Iterable[Piece], *, going: Callable[[], bool] = always) -> int:
        """Get those; how many. Raises StorageAway, Broken, Cut, or OSError where there is no room."""
        return self._each(self._fetch, pieces, going) if self.on else 0

    def renew(self, piece: Piece) -> None:
        """Get the object that was last put there under this name, unless it is here. Raises StorageAway, Broken."""
        if not self.on:
            return
        expected = self._digest(piece.name)
        with suppress(FileNotFoundError), piece.file.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() == expected:
                return
        self._fetch(replace(piece, sha256=expected))

    def _each(self, do: Callable[[Piece], None], pieces: Iterable[Piece], going: Callable[[], bool]) -> int:
        left, count = iter(pieces), 0
        some = list(islice(left, ROUND))
        if len(some) == 1:
            do(some[0])
            return 1
        with ThreadPoolExecutor(TOGETHER, "storage") as pool:
            while some:
                if not going():
                    raise Cut
                for _ in pool.map(do, some):
                    count += 1
                some = list(islice(left, ROUND))
        return count

    def _push(self, piece: Piece) -> None:
        assert self.backend is not None
        with piece.file.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            if piece.sha256 and sha256 != piece.sha256:
                raise Broken(f"{piece.file.name} is not what it was, and was not put into the storage.")
            file.seek(0)
            with self._reached():
                self.backend.put(f"{piece.name}.{sha256}", file)

    def _fetch(self, piece: Piece) -> None:
        expected = piece.sha256 or self._digest(piece.name)
        piece.file.parent.mkdir(parents=True, exist_ok=True)
        part = piece.file.with_name(f".{secrets.token_hex(8)}.part")
        found = hashlib.sha256()
        try:
            with part.open("xb") as out:
                for chunk in self._chunks(piece.name, expected):
                    found.update(chunk)
                    out.write(chunk)
            if found.hexdigest() != expected:
                raise Broken(
                    f"{piece.name} is damaged in the storage: it has another sha256 than it was put there with."
                )
            part.replace(piece.file)
        finally:
            part.unlink(missing_ok=True)

    def _chunks(self, name: str, sha256: str) -> Iterator[bytes]:
        """The content of an object: what goes wrong on this side of it is not the storage's fault."""
        assert self.backend is not None
        try:
            with self._reached():
                yield from self.backend.chunks(f"{name}.{sha256}")
        except FileNotFoundError as error:
            raise Broken(f"{name} is not in the storage.") from error

    def _digest(self, name: str) -> str:
        """The sha256 that the object of this name was last put there with."""
        entries = [one for one in self.entries(f"{name}.") if named(one) == name]
        if not entries:
            raise Broken(f"{name} is not in the storage.")
        newest = max(entries, key=lambda one: (one.modified, one.bytes))
        return newest.name.rpartition(".")[2]

    # --- what is there --------------------------------------------------------------------------------------------
    def entries(self, prefix: str) -> list[Entry]:
        """Everything whose name begins so. Raises StorageAway."""
        if self.backend is None:
            return []
        with self._reached():
            return list(self.backend.walk(prefix))

    def remove(self, prefix: str) -> None:
        """Take away everything whose name begins so. Where the storage is away this host does it later (`settle`)."""
        assert prefix.endswith(("/", ".", "-"))
        if self.backend is None:
            return
        try:
            self.take_away(one.name for one in self.entries(prefix))
        except StorageAway as error:
            log.warning("%s* stays in the storage for now: %s", prefix, error)
            self.cache.owe(prefix)

    def settle(self) -> None:
        """Take away what could not be when it was to go; once a minute, for each try may take as long as it may."""
        if not self.is_due("owed", WAIT_SECONDS):
            return
        for prefix in self.cache.owed():
            try:
                self.take_away(one.name for one in self.entries(prefix))
            except StorageAway:
                return
            self.cache.paid(prefix)

    def take_away(self, names: Iterable[str]) -> None:
        """These objects. Raises StorageAway."""
        if self.backend is not None:
            with self._reached():
                self.backend.remove(names)

    def is_due(self, kind: str, seconds: float = SWEEP_SECONDS) -> bool:
        """Whether it is time to look again for what is to go."""
        if self.backend is None or time.monotonic() - self.swept.get(kind, -seconds) < seconds:
            return False
        self.swept[kind] = time.monotonic()
        return True

    def folders(self, kind: str) -> set[str]:
        """The names of all folders of a kind. Raises StorageAway."""
        if self.backend is None:
            return set()
        with self._reached():
            self.backend.check()
            try:
                return set(self.backend.listdir(kind)[0])
            except FileNotFoundError:  # nothing of that kind was ever put there
                return set()

    def abandoned(self, prefix: str) -> list[Entry]:
        """The objects with this beginning, where they are old enough to be named by a row. Raises StorageAway."""
        return [one for one in self.entries(prefix) if time.time() - one.modified > ABANDONED_SECONDS]

    # --- what is here ---------------------------------------------------------------------------------------------
    def holding(self, kind: str, name: str) -> AbstractContextManager[None]:
        """Within the block this folder stays, however full the cache is."""
        return self.cache.hold(kind, name) if self.on else nullcontext()

    def make_room(self, *, keep: Container[tuple[str, str]] = ()) -> None:
        """Keep to STORAGE_CACHE_BYTES."""
        if self.on and settings.STORAGE_CACHE_BYTES:
            self.cache.make_room(settings.STORAGE_CACHE_BYTES, keep=keep)

    @contextmanager
    def _reached(self) -> Iterator[None]:
        assert self.backend is not None
        try:
            yield
        except FileNotFoundError:
            raise
        except self.backend.away as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise StorageAway(f"The storage cannot be used: {reason}") from error


def named(entry: Entry) -> str:
    """The name of an object without its digest; empty for what nobody of us put there."""
    return DIGEST.sub("", entry.name) if DIGEST.search(entry.name) else ""


@lru_cache(maxsize=4)
def _store(process: int, address: str) -> Store:
    # No connection survives a fork: each process has its own.
    return Store(storages.create_storage(settings.STORAGES["shared"]) if address else None)  # type: ignore[arg-type]


def store() -> Store:
    """The storage of this process."""
    shared = settings.STORAGES.get("shared")
    return _store(os.getpid(), shared["OPTIONS"]["url"] if shared else "")
