"""A small disk of its own (tmpfs), to be filled: what a full one does is only seen on one that is full.

    with small_disk(folder, megabytes=8):
        with filled(folder, leave_bytes=100_000): ...

Mounting needs the right to it, in practice root: `refusal()` says in a sentence why it cannot be.
"""

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

MIB = 2**20


def refusal() -> str:
    """Why no disk can be mounted here; empty where one can."""
    if shutil.which("mount") is None:
        return "a small disk needs the program mount"
    with tempfile.TemporaryDirectory(prefix="breedsite-disk-") as folder:
        done = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], capture_output=True, text=True)
        if done.returncode:
            return "a small disk needs the right to mount (root)"
        subprocess.run(["umount", folder], check=True)
    return ""


@contextlib.contextmanager
def small_disk(folder: Path, *, megabytes: int = 8) -> Iterator[Path]:
    """`folder` is a disk of that size until the end of the block; what was on it is gone then."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0700", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)  # lazily: a process may have a file open still


def free(folder: Path) -> int:
    """Bytes."""
    return shutil.disk_usage(folder).free


@contextlib.contextmanager
def filled(folder: Path, *, leave_bytes: int = 0) -> Iterator[None]:
    """No more than `leave_bytes` are free on the disk of `folder` until the end of the block."""
    filler = folder / ".filler"
    fill(filler, leave_bytes=leave_bytes)
    try:
        yield
    finally:
        filler.unlink()


def fill(filler: Path, *, leave_bytes: int = 0) -> None:
    """Let the file `filler` take all room on its disk but `leave_bytes`."""
    handle = os.open(filler, os.O_CREAT | os.O_WRONLY, 0o600)
    try:
        while (room := shutil.disk_usage(filler.parent).free - leave_bytes) > 0:
            with contextlib.suppress(OSError):  # somebody else was quicker: look again
                os.posix_fallocate(handle, os.fstat(handle).st_size, room)
    finally:
        os.close(handle)
