"""A safetensors file, read without trusting it: the header within limits, the tensors finite.

The layout (https://huggingface.co/docs/safetensors): 8 bytes little-endian length of the header, the header as JSON,
name -> {dtype, shape, data_offsets}, then the data without gaps. Nothing is loaded whole.
"""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

MAX_HEADER_BYTES = 10_000_000
MAX_DIMENSIONS = 16
CHUNK_VALUES = 4 * 1024**2
BITS16 = np.dtype("<u2")  # numpy has no bfloat16: its bits are looked at
DTYPES: Mapping[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": BITS16,
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("u1"),
}


@dataclass(frozen=True)
class Tensor:
    dtype: str
    shape: tuple[int, ...]
    start: int  # bytes from the beginning of the file
    stop: int

    def __str__(self) -> str:
        return f"{self.dtype} {'x'.join(map(str, self.shape))}".rstrip()


def read_header(file: Path) -> dict[str, Tensor]:
    """The table of contents, name -> Tensor. Raises ValueError with what is wrong."""
    size = file.stat().st_size
    with file.open("rb") as handle:
        length = int.from_bytes(handle.read(8), "little")
        if size < 8 or length > min(MAX_HEADER_BYTES, size - 8):
            raise ValueError(f"its header would have {length} bytes, more than the file or the limit allows")
        header = handle.read(length)
    try:
        entries = json.loads(header, object_pairs_hook=unique)
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ValueError("its header is not JSON") from error
    if not isinstance(entries, dict):
        raise ValueError("its header is not a JSON object")
    entries.pop("__metadata__", None)
    tensors = {name: read_entry(name, entry, 8 + length) for name, entry in entries.items()}
    position = 8 + length
    for name, tensor in sorted(tensors.items(), key=lambda item: (item[1].start, item[1].stop)):
        if tensor.start != position:
            raise ValueError(f"the tensor {name!r:.80} does not begin where the one before it ends")
        position = tensor.stop
    if position != size:
        raise ValueError(f"its tensors end at byte {position}, the file at byte {size}")
    return tensors


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object_pairs_hook that refuses a key that occurs twice."""
    entries = dict(pairs)
    if len(entries) != len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!r:.80} occurs twice")
    return entries


def read_entry(name: str, entry: Any, data: int) -> Tensor:
    """One tensor of the header; `data` is the byte of the file where the tensors begin."""
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"the tensor {name!r:.80} is not described by dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise ValueError(f"the tensor {name!r:.80} has the unknown dtype {dtype!r:.20}")
    if not sizes(shape) or len(shape) > MAX_DIMENSIONS:
        raise ValueError(f"the tensor {name!r:.80} has the impossible shape {shape!r:.80}")
    if not sizes(offsets) or len(offsets) != 2:
        raise ValueError(f"the tensor {name!r:.80} has the impossible offsets {offsets!r:.80}")
    if offsets[1] - offsets[0] != math.prod(shape) * DTYPES[dtype].itemsize:
        raise ValueError(f"the tensor {name!r:.80} has another number of bytes than its shape {shape!r:.80} needs")
    return Tensor(dtype, tuple(shape), data + offsets[0], data + offsets[1])


def sizes(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int and 0 <= value < 2**48 for value in values)


def first_not_finite(file: Path, tensors: Mapping[str, Tensor]) -> str | None:
    """The name of a tensor that holds NaN or an infinity; None when all are finite. Reads in chunks of 32 MB."""
    with file.open("rb") as handle:
        for name, tensor in tensors.items():
            if tensor.dtype not in ("F64", "F32", "F16", "BF16"):
                continue
            dtype = DTYPES[tensor.dtype]
            handle.seek(tensor.start, os.SEEK_SET)
            left = (tensor.stop - tensor.start) // dtype.itemsize
            while left:
                values = np.fromfile(handle, dtype, min(left, CHUNK_VALUES))
                finite = (values & 0x7F80) != 0x7F80 if dtype is BITS16 else np.isfinite(values)
                if not finite.all():
                    return name
                left -= len(values)
    return None
