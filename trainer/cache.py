"""Features on disk: what a frozen backbone saw in photos, kept for the next training that asks for the same.

    cache = FeatureCache(folder, max_bytes=2 * 1024**3)
    cache.add(kind, {photo: row, ...})      # photo: SHA-256 of its file; row: float32 (D,)
    for photo, row in cache.read(kind): ...

A kind is one backbone, one preprocessing and one view, as the digest of all that decides a row. Rows lie in safetensors
files that are written once, put in their place by a rename and named by the digest of their contents: several processes
may write at once, nothing waits for a lock, and a file that is damaged is found out and removed. When the bound is
passed, the files that were used longest ago go first. Needs no torch: the site counts and empties it too.
"""

import hashlib
import logging
import os
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

log = logging.getLogger(__name__)

SUFFIX = ".safetensors"
KEEP_SECONDS = 10.0  # of work, at most, that a kill costs
ABANDONED_SECONDS = 3600.0  # after which a file that is still being written has lost its writer


@dataclass(frozen=True)
class Entry:
    """One file of the cache."""

    file: Path
    size: int  # bytes
    used: int  # nanoseconds since 1970


@dataclass(frozen=True)
class FeatureCache:
    """A folder of features, shared by all trainings of a site."""

    folder: Path
    max_bytes: int

    def add(self, kind: str, rows: Mapping[str, np.ndarray]) -> None:
        """Keep these rows, and let others go where that passes the bound. Raises OSError when the disk is full."""
        if not rows or self.max_bytes == 0:
            return
        photos = np.stack([np.frombuffer(bytes.fromhex(photo), np.uint8) for photo in rows])  # (N, 32)
        data = save({"photos": photos, "features": np.stack([*rows.values()]).astype(np.float32, copy=False)})
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self.folder / f"{kind}-{digest(data)}{SUFFIX}"
        temporary = file.with_name(f".{file.name}.{os.getpid()}.part")
        try:
            temporary.write_bytes(data)
            temporary.replace(file)
        finally:
            temporary.unlink(missing_ok=True)
        self.shrink(self.max_bytes)

    def read(self, kind: str) -> Iterator[tuple[str, np.ndarray]]:
        """Every photo of that kind with its row (D,). A damaged file is reported, removed and passed over."""
        for file in sorted(self.folder.glob(f"{kind}-*{SUFFIX}")):
            try:
                data = file.read_bytes()
                if digest(data) != file.stem.rpartition("-")[2]:
                    raise SafetensorError("its contents do not have the digest they were written with")
                tensors = load(data)
                os.utime(file)
            except FileNotFoundError:  # another process made room
                continue
            except SafetensorError as error:
                log.warning("The features in %s are damaged (%s): they are computed again.", file.name, error)
                file.unlink(missing_ok=True)
                continue
            for photo, row in zip(tensors["photos"], tensors["features"], strict=True):
                yield photo.tobytes().hex(), row

    def entries(self) -> list[Entry]:
        """Its files, those used longest ago first."""
        found = []
        for file in self.folder.glob(f"*{SUFFIX}"):
            try:
                state = file.stat()
            except FileNotFoundError:
                continue
            found.append(Entry(file, state.st_size, state.st_mtime_ns))
        return sorted(found, key=lambda entry: entry.used)

    def size(self) -> int:
        """Bytes on the disk."""
        return sum(entry.size for entry in self.entries())

    def empty(self) -> int:
        """Remove everything; how many bytes that were. A training under way keeps what it has read."""
        return self.shrink(0)

    def shrink(self, max_bytes: int) -> int:
        """Remove the files used longest ago until the others fit, and what a killed process left behind; how many
        bytes that were."""
        entries = self.entries()
        total, removed = sum(entry.size for entry in entries), 0
        for entry in entries:
            if total - removed <= max_bytes:
                break
            entry.file.unlink(missing_ok=True)
            removed += entry.size
        for part in self.folder.glob(f".*{SUFFIX}.*.part"):
            try:
                if time.time() - part.stat().st_mtime > ABANDONED_SECONDS:
                    part.unlink()
            except FileNotFoundError:
                continue
        return removed


class Keeper:
    """Puts rows into a cache, some seconds' worth at a time. A full disk ends the keeping, not the computing."""

    def __init__(self, cache: FeatureCache | None) -> None:
        self.cache = cache
        self.rows: defaultdict[str, dict[str, np.ndarray]] = defaultdict(dict)  # kind -> photo -> row
        self.kept = time.monotonic()

    def add(self, photo: str, rows: Mapping[str, np.ndarray]) -> None:
        """The rows of one photo, by their kind."""
        for kind, row in rows.items():
            self.rows[kind][photo] = row
        if time.monotonic() - self.kept > KEEP_SECONDS:
            self.flush()

    def flush(self) -> None:
        rows, self.rows = self.rows, defaultdict(dict)
        self.kept = time.monotonic()
        if self.cache is None:
            return
        try:
            for kind, photos in rows.items():
                self.cache.add(kind, photos)
        except OSError as error:
            log.warning("Features cannot be kept (%s): another training will compute them again.", error)
            self.cache = None


def digest(data: bytes) -> str:
    """128 bits of SHA-256, as text: short enough for two in a file's name."""
    return hashlib.sha256(data).hexdigest()[:32]
