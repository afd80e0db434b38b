"""What of the storage lies on this host, and which of it goes first when there is too much.

Each folder that came from the storage, or went there, has a small file of its own beside the cache: that there is one
with the word `stored` says that the storage has all of it, when it was touched says when the folder was last used, and
who works with the folder holds a lock on it, which no death leaves behind. What has no such file is never removed.
"""

import fcntl
import logging
import os
import secrets
import shutil
from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

log = logging.getLogger(__name__)

STORED = "stored"
RUBBISH = ".rubbish"  # beside the folders: what is being thrown away


@dataclass(frozen=True)
class ReadCache:
    """`place` has the small files; `roots` says where the folders of each kind lie."""

    place: Path
    roots: Mapping[str, Path]

    def mark(self, kind: str, name: str) -> None:
        """The storage has this folder, and it is used now."""
        note = self._note(kind, name)
        note.parent.mkdir(parents=True, exist_ok=True)
        if self.has(kind, name):
            with suppress(FileNotFoundError):
                os.utime(note)
                return
        note.write_text(STORED)

    def has(self, kind: str, name: str) -> bool:
        """Whether the storage is known to have it."""
        try:
            return self._note(kind, name).stat().st_size > 0
        except FileNotFoundError:
            return False

    def names(self, kind: str) -> dict[str, float]:
        """The folders that the storage has, and when each was used: seconds since 1970."""
        found = {}
        for note in (self.place / kind).glob("*"):
            with suppress(FileNotFoundError):
                state = note.stat()
                if state.st_size:
                    found[note.name] = state.st_mtime
        return found

    @contextmanager
    def hold(self, kind: str, name: str) -> Iterator[None]:
        """Use it, and let nobody remove it before the block ends, or this process dies."""
        note = self._note(kind, name)
        note.parent.mkdir(parents=True, exist_ok=True)
        while True:
            opened = os.open(note, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(opened, fcntl.LOCK_SH)
                if _is(opened, note):  # else it was removed while we waited
                    os.utime(note)
                    yield
                    return
            finally:
                os.close(opened)

    @contextmanager
    def alone(self, kind: str, name: str) -> Iterator[None]:
        """Of all processes of this host that ask for the same one at a time is within the block."""
        note = self._note("alone", f"{kind}-{name}")
        note.parent.mkdir(parents=True, exist_ok=True)
        opened = os.open(note, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(opened, fcntl.LOCK_EX)
            yield
        finally:
            os.close(opened)

    def forget(self, kind: str, name: str) -> bool:
        """Remove the folder, which the storage has or nobody needs. False where somebody uses it."""
        note = self._note(kind, name)
        try:
            opened = os.open(note, os.O_RDWR)
        except FileNotFoundError:
            return False
        try:
            try:
                fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            if not _is(opened, note):
                return False
            rubbish = self.roots[kind] / RUBBISH / secrets.token_hex(8)
            with suppress(FileNotFoundError):
                rubbish.parent.mkdir(parents=True, exist_ok=True)
                (self.roots[kind] / name).rename(rubbish)  # at once: nobody ever sees half of it
            note.unlink()
        finally:
            os.close(opened)
        shutil.rmtree(rubbish, ignore_errors=True)
        return True

    # --- what is still to go from the storage ---------------------------------------------------------------------
    def owe(self, prefix: str) -> None:
        note = self._note("owed", quote(prefix, safe=""))
        note.parent.mkdir(parents=True, exist_ok=True)
        note.touch()

    def owed(self) -> list[str]:
        return [unquote(note.name) for note in (self.place / "owed").glob("*")]

    def paid(self, prefix: str) -> None:
        self._note("owed", quote(prefix, safe="")).unlink(missing_ok=True)

    # --- the bound ------------------------------------------------------------------------------------------------
    def make_room(self, max_bytes: int, *, keep: Container[tuple[str, str]] = ()) -> int:
        """Remove the folders used longest ago until the others fit, but never those to `keep`, by kind and name; how
        many bytes that were."""
        for root in self.roots.values():
            shutil.rmtree(root / RUBBISH, ignore_errors=True)  # what a killed process left
        found = [(used, kind, name) for kind in self.roots for name, used in self.names(kind).items()]
        sizes = {(kind, name): size(self.roots[kind] / name) for _, kind, name in found}
        total, removed = sum(sizes.values()), 0
        for _, kind, name in sorted(found):
            if total - removed <= max_bytes:
                break
            if (kind, name) not in keep and self.forget(kind, name):
                removed += sizes[kind, name]
                log.info("Removed %s/%s from this host: it is in the storage.", kind, name)
        if total - removed > max_bytes:
            log.warning("What is in use here has %d MB, more than STORAGE_CACHE_BYTES.", (total - removed) >> 20)
        return removed

    def _note(self, kind: str, name: str) -> Path:
        assert "/" not in name and not name.startswith("."), name
        return self.place / kind / name


def _is(opened: int, file: Path) -> bool:
    """Whether the open file still has its name."""
    try:
        return os.path.samestat(os.fstat(opened), file.stat())
    except FileNotFoundError:
        return False


def size(folder: Path) -> int:
    """Bytes of all files below it."""
    total = 0
    for place, _, files in os.walk(folder):
        for file in files:
            with suppress(FileNotFoundError):
                total += (Path(place) / file).stat().st_size
    return total
