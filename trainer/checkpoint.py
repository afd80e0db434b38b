"""A training's state on disk: written beside itself and renamed, so that neither a full disk nor a kill harms the good
one; read back only if not a byte has changed, and without unpickling objects.
"""

import hashlib
import io
import logging
import os
import pickle
from pathlib import Path
from typing import Any

import torch

from classifier import crash

log = logging.getLogger(__name__)

MAGIC = b"breedsite checkpoint 1\n"  # then 32 bytes of SHA-256, then what torch.save wrote
KEEP = 2


class CheckpointError(ValueError):
    """A checkpoint that cannot be read back; the sentence names the file."""


def save(folder: Path, state: dict[str, Any], *, epoch: int, step: int = 0) -> Path:
    """Write the state after `epoch` whole epochs and `step` steps of the next, and keep the last two.

    Raises OSError when the disk is full.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"epoch-{epoch:05d}-step-{step:07d}.checkpoint"
    for rest in folder.glob(".epoch-*.part"):  # of a process that was killed while it wrote: nobody else writes here
        rest.unlink()
    buffer = io.BytesIO()
    torch.save(state, buffer)
    payload = buffer.getbuffer()
    write_atomically(file, MAGIC + hashlib.sha256(payload).digest(), payload)
    crash.here("before_checkpoint_removal")
    for old in _all(folder)[:-KEEP]:
        old.unlink()
    return file


def load(file: Path) -> dict[str, Any]:
    """The state of one checkpoint; raises CheckpointError."""
    data = file.read_bytes()
    start = len(MAGIC) + 32
    if data[: len(MAGIC)] != MAGIC:
        raise CheckpointError(f"{file} is not a checkpoint of this format.")
    if hashlib.sha256(data[start:]).digest() != data[len(MAGIC) : start]:
        raise CheckpointError(f"{file} is damaged: its contents do not have the digest they were written with.")
    try:
        state: dict[str, Any] = torch.load(io.BytesIO(data[start:]), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(f"{file} holds more than tensors and plain values.") from error
    return state


def latest(*folders: Path) -> dict[str, Any] | None:
    """The newest readable state in the folders, of two equally new ones that of the last folder; None where there is
    none. A damaged one is reported and passed over."""
    for file in sorted((file for folder in folders for file in _all(folder)), key=lambda file: file.name)[::-1]:
        try:
            return load(file)
        except CheckpointError as error:
            log.warning("%s The one before it is used.", error)
    return None


def write_atomically(file: Path, *parts: bytes | memoryview) -> None:
    """Temporary file in the same folder, fsync, rename, fsync of the folder."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        with temporary.open("wb") as out:
            for part in parts:
                out.write(part)
                crash.here("in_checkpoint_write")
            out.flush()
            os.fsync(out.fileno())
        crash.here("before_checkpoint_rename")
        temporary.replace(file)
        crash.here("after_checkpoint_rename")
    finally:
        temporary.unlink(missing_ok=True)
    handle = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _all(folder: Path) -> list[Path]:
    return sorted(folder.glob("epoch-*.checkpoint"))
