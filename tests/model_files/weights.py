"""weights.safetensors with one thing wrong."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from tests.artifacts import make_weights
from tests.model_files.damage import WEIGHTS, case, put, seal


def safetensors(header: Any, data: bytes = b"", *, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(shape: list[int], start: int, stop: int, dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


def change_weights(folder: Path, change: Callable[[dict[str, np.ndarray]], Any]) -> None:
    weights = {name: value.copy() for name, value in load_file(folder / WEIGHTS).items()}
    change(weights)
    save_file(weights, folder / WEIGHTS)
    seal(folder)


@case("header would have 9223372036854775808 bytes")
def header_of_eight_exabytes(folder: Path) -> None:
    put(folder, WEIGHTS, safetensors({}, length=2**63))


@case("header would have 100000000 bytes")
def header_of_100_megabytes(folder: Path) -> None:
    put(folder, WEIGHTS, safetensors({}, length=100_000_000))


@case("header would have 10000001 bytes")
def header_past_the_limit(folder: Path) -> None:
    put(folder, WEIGHTS, safetensors(b"{}" + b" " * 9_999_999))


@case("header is not JSON")
def header_that_is_not_json(folder: Path) -> None:
    put(folder, WEIGHTS, safetensors(b"{'weights': 1}"))


@case("header is not JSON")
def header_nested_deeply(folder: Path) -> None:
    put(folder, WEIGHTS, safetensors(b"[" * 200_000))


@case("header is not a JSON object")
def header_that_is_a_list(folder: Path) -> None:
    put(folder, WEIGHTS, safetensors([1]))


@case("does not begin where the one before it ends")
def overlapping_offsets(folder: Path) -> None:
    put(folder, WEIGHTS, safetensors({"a": entry([2], 0, 8), "b": entry([2], 4, 12)}, bytes(12)))


@case("tensors end at byte")
def offsets_past_the_end(folder: Path) -> None:
    put(folder, WEIGHTS, safetensors({"a": entry([1000], 0, 4000)}, bytes(8)))


@case("impossible offsets")
def negative_offsets(folder: Path) -> None:
    put(folder, WEIGHTS, safetensors({"a": entry([2], -8, 0)}, bytes(8)))


@case("another number of bytes than its shape")
def shape_without_its_bytes(folder: Path) -> None:
    put(folder, WEIGHTS, safetensors({"a": entry([10**9, 10**9], 0, 8)}, bytes(8)))


@case("unknown dtype 'OBJECT'")
def unknown_dtype(folder: Path) -> None:
    put(folder, WEIGHTS, safetensors({"a": entry([1], 0, 8, "OBJECT")}, bytes(8)))


@case("the key 'a' occurs twice")
def tensor_twice(folder: Path) -> None:
    one = json.dumps(entry([2], 0, 8))
    put(folder, WEIGHTS, safetensors(f'{{"a": {one}, "a": {one}}}'.encode(), bytes(8)))


@case("'head.weight' is F64 5x8, not F32 5x8")
def wrong_dtype(folder: Path) -> None:
    change_weights(folder, lambda w: w.update({"head.weight": w["head.weight"].astype(np.float64)}))


@case("'head.weight' is F32 8x5, not F32 5x8")
def wrong_shape(folder: Path) -> None:
    change_weights(folder, lambda w: w.update({"head.weight": w["head.weight"].T.copy()}))


@case("the tensor 'head.bias' is missing")
def missing_tensor(folder: Path) -> None:
    change_weights(folder, lambda w: w.pop("head.bias"))


@case("the tensor 'more' is one too many")
def extra_tensor(folder: Path) -> None:
    change_weights(folder, lambda w: w.update(more=np.zeros(3, np.float32)))


@case("the tensor 'conv.weight' holds NaN or an infinity")
def weights_with_nan(folder: Path) -> None:
    change_weights(folder, lambda w: w["conv.weight"].__setitem__((7, 2, 2, 2), np.nan))


@case("the tensor 'head.bias' holds NaN or an infinity")
def weights_with_infinity(folder: Path) -> None:
    change_weights(folder, lambda w: w["head.bias"].__setitem__(4, -np.inf))


@case("the file is not whole")
def truncated_weights(folder: Path) -> None:
    data = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(data[: len(data) // 2])


@case("has 0 bytes")
def empty_weights(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes(b"")


@case("its sha256 is another")
def weights_of_another_model(folder: Path) -> None:
    save_file(make_weights(5, seed=99), folder / WEIGHTS)


@case("weights.safetensors cannot be read")
def missing_weights(folder: Path) -> None:
    (folder / WEIGHTS).unlink()


@case("weights.safetensors is not a regular file")
def weights_that_are_a_link(folder: Path) -> None:
    (folder / WEIGHTS).rename(folder.parent / "elsewhere")
    (folder / WEIGHTS).symlink_to(folder.parent / "elsewhere")
