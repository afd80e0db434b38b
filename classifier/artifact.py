"""A model on disk: a folder with spec.json, model.onnx and weights.safetensors.

The contract between whoever makes a network and whoever answers with it. A folder appears whole or not at all: it is
filled under another name beside its place, flushed, verified there and then renamed. Nothing in it is ever executed:
spec.json is JSON, the weights are numbers, and the graph is run by ONNX Runtime, which knows no code from files.
"""

import errno
import hashlib
import json
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np

from classifier import crash, preprocess, tensors
from classifier.engines.onnx import EngineError, OnnxEngine
from classifier.preprocess import Preprocessing
from classifier.spec import FILES, MAX_FILE_BYTES, ArtifactError, File, Spec

__all__ = ["ArtifactError", "Engine", "Spec", "copy", "digest", "golden_input", "read", "verify", "write"]

MAX_SPEC_BYTES = 20_000_000
GOLDEN_TOLERANCE = 1e-4  # times the largest absolute logit, or 1


class AlreadyThere(ArtifactError):
    """The folder to be made exists."""


class DeviceLost(RuntimeError):
    """The device of an engine gives no answer any more: only a new process may use it again."""


class Engine(Protocol):
    outputs: tuple[str, ...]
    normalizes: bool  # takes pictures as they are, too: uint8 (B, H, W, 3)

    def __call__(self, images: np.ndarray) -> np.ndarray: ...

    def features(self, images: np.ndarray) -> np.ndarray: ...


EngineFactory = Callable[..., Engine]  # (file, *, threads)


def golden_input(seed: int, preprocessing: Preprocessing) -> np.ndarray:
    """A smooth picture from whole numbers alone, the same on every machine and in every library version.

    Three triangle waves a channel, whose frequencies and phases come from the seed -> float32 (3, H, W), normalized.
    """
    ramp = np.arange(preprocessing.crop) * 512 // preprocessing.crop  # 0..511
    x, y = ramp[None, :], ramp[:, None]
    channels = []
    for channel in range(3):
        phase = 97 * seed + 171 * channel
        across = triangle((1 + (3 * seed + channel) % 4) * x + phase)
        down = triangle((1 + (5 * seed + 2 * channel) % 3) * y + 2 * phase)
        channels.append((across + down + triangle(x + y + 3 * phase)) // 3)
    return preprocess.normalize(np.stack(channels, axis=-1).astype(np.uint8), preprocessing)


def triangle(phase: np.ndarray) -> np.ndarray:
    """Whole numbers of any size -> 0..255, rising and falling once every 512."""
    return np.minimum(np.abs(phase % 512 - 256), 255)


# --- reading ------------------------------------------------------------------------------------------------------
def read(folder: Path) -> Spec:
    """Parses spec.json and checks every field; looks at no other file. Raises ArtifactError."""
    return parse(spec_bytes(folder))


def digest(folder: Path) -> str:
    """What identifies a model: sha256 of the bytes of spec.json, which holds the digests of the other files."""
    return hashlib.sha256(spec_bytes(folder)).hexdigest()


def spec_bytes(folder: Path) -> bytes:
    file = folder / "spec.json"
    if regular_size(file) > MAX_SPEC_BYTES:
        raise ArtifactError(f"spec.json is larger than {MAX_SPEC_BYTES} bytes")
    with readable(file):
        return file.read_bytes()


def parse(data: bytes) -> Spec:
    try:
        document = json.loads(data, object_pairs_hook=tensors.unique, parse_constant=refuse_constant)
        refuse_unstorable(document)
    except (ValueError, RecursionError) as error:  # JSONDecodeError and UnicodeDecodeError are ValueErrors
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise ArtifactError(f"spec.json cannot be read: {reason}") from error
    return Spec.from_dict(document)


def refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number of JSON")


def refuse_unstorable(value: Any) -> None:
    """1e999 is JSON and infinite; NUL and lone surrogates are JSON and no text for a database or a page."""
    if isinstance(value, dict):
        for key, item in value.items():
            refuse_unstorable(key)
            refuse_unstorable(item)
    elif isinstance(value, list):
        for item in value:
            refuse_unstorable(item)
    elif isinstance(value, float) and not np.isfinite(value):
        raise ValueError("a number is too large")
    elif isinstance(value, str) and any((c < " " and c not in "\n\t") or "\ud800" <= c <= "\udfff" for c in value):
        raise ValueError("a text holds a control character")


def verify(folder: Path, engine_factory: EngineFactory = OnnxEngine) -> Spec:
    """Everything that can be known without training data: fields, sizes, digests, finite weights, golden logits.

    `engine_factory(file, threads=1)` loads model.onnx; give your own to keep the engine. Raises ArtifactError.
    """
    spec = read(folder)
    for name in FILES:
        if name not in spec.files:
            raise ArtifactError(f"spec.json: files.{name} is missing")
        verify_digest(folder / name, spec.files[name])
    verify_weights(folder / "weights.safetensors", spec)
    try:
        verify_golden(engine_factory(folder / "model.onnx", threads=1), spec)
    except EngineError as error:
        raise ArtifactError(f"model.onnx cannot be used: {error}") from error
    return spec


def verify_digest(file: Path, expected: File) -> None:
    size = regular_size(file)
    if size != expected.bytes:
        raise ArtifactError(f"{file.name} has {size} bytes, spec.json says {expected.bytes}: the file is not whole")
    with readable(file):
        found = sha256(file)
    if found != expected.sha256:
        raise ArtifactError(f"{file.name} is not the file that spec.json describes: its sha256 is another")


def verify_weights(file: Path, spec: Spec) -> None:
    try:
        found = tensors.read_header(file)
    except ValueError as error:
        raise ArtifactError(f"{file.name} is not a sound safetensors file: {error}") from error
    expected = spec.files[file.name].tensors
    if expected is None:
        raise ArtifactError(f"spec.json: files.{file.name}.tensors is missing")
    for name in sorted(expected.keys() | found.keys()):
        if name not in found:
            raise ArtifactError(f"{file.name}: the tensor {name!r:.80} is missing")
        if name not in expected:
            raise ArtifactError(f"{file.name}: the tensor {name!r:.80} is one too many")
        if str(found[name]) != expected[name]:
            raise ArtifactError(f"{file.name}: the tensor {name!r:.80} is {found[name]}, not {expected[name]}")
    if not any(len(tensor.shape) >= 2 and tensor.shape[0] == len(spec.labels) for tensor in found.values()):
        raise ArtifactError(f"{file.name} has no layer with {len(spec.labels)} outputs, one for each label")
    broken = tensors.first_not_finite(file, found)
    if broken is not None:
        raise ArtifactError(f"{file.name}: the tensor {broken!r:.80} holds NaN or an infinity")


def verify_golden(engine: Engine, spec: Spec) -> None:
    """The stored logits must come out again, one by one and as one batch."""
    images = np.stack([golden_input(golden.seed, spec.preprocessing) for golden in spec.golden])  # (B, 3, H, W)
    expected = np.array([golden.logits for golden in spec.golden])  # (B, K)
    for logits, stored in ((engine(images), expected), (engine(images[:1]), expected[:1])):
        if logits.ndim != 2 or logits.shape[1] != len(spec.labels):
            shape = "x".join(map(str, logits.shape[1:]))
            raise ArtifactError(f"model.onnx answers {shape} values, spec.json has {len(spec.labels)} labels")
        if logits.shape[0] != len(stored) or not np.isfinite(logits).all():
            raise ArtifactError("model.onnx answers with NaN or an infinity, or not one row for each picture")
        off = np.abs(logits - stored).max()
        allowed = GOLDEN_TOLERANCE * max(1.0, np.abs(stored).max())
        if not off <= allowed:
            raise ArtifactError(
                f"model.onnx does not answer as it did where it was made: a golden logit is off by {off:.2g}, "
                f"allowed is {allowed:.2g}"
            )


def regular_size(file: Path) -> int:
    """Bytes of a file that is a file; a link, a folder or a device is refused."""
    with readable(file):
        status = file.lstat()
    if not stat.S_ISREG(status.st_mode):
        raise ArtifactError(f"{file.name} is not a regular file")
    if status.st_size > MAX_FILE_BYTES:
        raise ArtifactError(f"{file.name} is larger than {MAX_FILE_BYTES} bytes")
    return status.st_size


@contextmanager
def readable(file: Path) -> Iterator[None]:
    """A file that is missing, forbidden or on a broken disk is a model that cannot be used."""
    try:
        yield
    except OSError as error:
        raise ArtifactError(f"{file.name} cannot be read from {file.parent.name}: {error.strerror}") from error


def sha256(file: Path) -> str:
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


# --- writing ------------------------------------------------------------------------------------------------------
def write(folder: Path, spec: Spec, files: Mapping[str, Path]) -> str:
    """Makes `folder` from a spec (its `files` are filled in here) and the two files; returns the digest.

    Verified before it appears under its name. Never overwrites. Raises ArtifactError, or OSError when the disk is full.
    """
    if set(files) != set(FILES):
        raise ArtifactError(f"a model has the files {' and '.join(FILES)}, not {', '.join(files) or 'none'}")
    with appearing(folder) as place:
        entries = {}
        for name, source in files.items():
            flushed_copy(source, place / name)
            entries[name] = File(sha256(place / name), (place / name).stat().st_size)
        crash.here("in_artifact_write")
        weights = "weights.safetensors"
        try:
            contents = tensors.read_header(place / weights)
        except ValueError as error:
            raise ArtifactError(f"{weights} is not a sound safetensors file: {error}") from error
        listing = {name: str(tensor) for name, tensor in sorted(contents.items())}
        entries[weights] = replace(entries[weights], tensors=listing)
        document = replace(spec, files=entries).as_dict()
        text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False)
        with (place / "spec.json").open("w", encoding="utf-8") as out:
            out.write(text + "\n")
            flush(out)
        verify(place)
    return digest(folder)


def copy(source: Path, destination: Path) -> Spec:
    """Installs a model from elsewhere: the three files alone, byte for byte, verified where they will lie."""
    read(source)  # a folder that is no model is refused before anything is copied
    with appearing(destination) as place:
        for name in ("spec.json", *FILES):
            regular_size(source / name)
            flushed_copy(source / name, place / name)
        crash.here("in_version_copy")
        return verify(place)


@contextmanager
def appearing(folder: Path) -> Iterator[Path]:
    """A new folder beside `folder`, named `<folder>.tmp-*`: renamed when the block ends well, removed when it fails.

    What a killed process leaves behind has that name, so it is never taken for a model and may be swept.
    """
    if folder.exists():
        raise AlreadyThere(f"{folder.name} exists already, and a model is never overwritten")
    folder.parent.mkdir(parents=True, exist_ok=True)
    place = folder.with_name(f"{folder.name}.tmp-{secrets.token_hex(8)}")
    place.mkdir()
    try:
        yield place
        flush_folder(place)
        crash.here("before_artifact_rename")
        place.rename(folder)
        crash.here("after_artifact_rename")
    except BaseException as error:
        shutil.rmtree(place, ignore_errors=True)
        if isinstance(error, OSError) and error.errno in (errno.ENOTEMPTY, errno.EEXIST):  # another was quicker
            raise AlreadyThere(f"{folder.name} exists already, and a model is never overwritten") from error
        raise
    flush_folder(folder.parent)


def flushed_copy(source: Path, destination: Path) -> None:
    with source.open("rb") as read_from, destination.open("wb") as out:
        shutil.copyfileobj(read_from, out, 1024**2)
        flush(out)


def flush(stream: IO[Any]) -> None:
    stream.flush()
    os.fsync(stream.fileno())


def flush_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
