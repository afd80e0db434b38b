"""What `spec.json` says about a model: its labels, its preprocessing, how sure it may be, how good it is, whence it is.

`Spec.from_dict` trusts nothing: a field that is missing, of another type or out of its range is refused with a sentence
that names the field. The same document comes out of `Spec.as_dict`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from classifier.architectures import KNOWN
from classifier.fields import ArtifactError, Fields
from classifier.preprocess import Preprocessing
from classifier.quality import Quality

FORMAT = 1  # the number of this layout; a reader refuses every other
FILES = ("model.onnx", "weights.safetensors")  # beside spec.json
MAX_FILE_BYTES = 2 * 1024**3
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
DIGEST = re.compile(r"[0-9a-f]{64}")
TENSOR = re.compile(r"[A-Z0-9]{2,8}( \d{1,12}(x\d{1,12}){0,15})?")  # "F32 64x3x7x7"; a scalar has no shape


@dataclass(frozen=True)
class Calibration:
    """How the logits become probabilities: softmax(logits / temperature); below `unsure_below` the answer is unsure."""

    temperature: float
    unsure_below: float  # 0..1
    split: str
    n: int  # photos it was fitted on
    ece_before: float  # expected calibration error, 0..1
    ece_after: float

    @classmethod
    def from_fields(cls, fields: Fields) -> "Calibration":
        return cls(
            temperature=fields.number("temperature", 0.01, 100),
            unsure_below=fields.number("unsure_below", 0, 1),
            split=fields.text("split"),
            n=fields.integer("n", 1, 10**9),
            ece_before=fields.number("ece_before", 0, 1),
            ece_after=fields.number("ece_after", 0, 1),
        )

    def as_dict(self) -> dict[str, Any]:
        return dict(vars(self))

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """logits (..., K) -> calibrated probabilities (..., K) float64, 0..1, sum 1"""
        scaled = logits.astype(np.float64) / self.temperature
        odds = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
        return np.asarray(odds / odds.sum(axis=-1, keepdims=True))


@dataclass(frozen=True)
class Golden:
    """What the network answered, where it was made, to the picture that `artifact.golden_input` draws from a seed."""

    seed: int
    logits: tuple[float, ...]  # (K,) uncalibrated

    @classmethod
    def from_fields(cls, fields: Fields, labels: int) -> "Golden":
        return cls(seed=fields.integer("seed", 0, 2**31), logits=fields.numbers("logits", labels))

    def as_dict(self) -> dict[str, Any]:
        return {"seed": self.seed, "logits": list(self.logits)}


@dataclass(frozen=True)
class File:
    """A file beside spec.json. `tensors` (of the weights alone) says what must be in it: name -> "F32 64x3x7x7"."""

    sha256: str
    bytes: int
    tensors: Mapping[str, str] | None = None

    @classmethod
    def from_fields(cls, fields: Fields) -> "File":
        tensors = None
        if "tensors" in fields.value:
            listing = fields.fields("tensors")
            tensors = {name: listing.text(name, TENSOR) for name in listing.value}
        return cls(fields.text("sha256", DIGEST), fields.integer("bytes", 1, MAX_FILE_BYTES), tensors)

    def as_dict(self) -> dict[str, Any]:
        entry: dict[str, Any] = {"sha256": self.sha256, "bytes": self.bytes}
        return entry if self.tensors is None else entry | {"tensors": dict(self.tensors)}


@dataclass(frozen=True)
class Spec:
    """A whole spec.json. `files` is empty until `artifact.write` has filled it."""

    name: str
    architecture: Mapping[str, Any]
    labels: tuple[str, ...]  # K
    preprocessing: Preprocessing
    calibration: Calibration
    quality: Quality | None
    golden: tuple[Golden, ...]
    origin: Mapping[str, Any]
    files: Mapping[str, File] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, document: Any) -> "Spec":
        """Raises ArtifactError with the name of the field that is wrong."""
        fields = Fields(document, "")
        if fields.get("format") != FORMAT:
            raise fields.refuse("format", f"{FORMAT}, the only one that this program reads")
        labels = read_labels(fields)
        files = fields.fields("files")
        if set(files.value) - set(FILES):
            raise fields.refuse("files", f"about {' and '.join(FILES)} alone")
        quality = None if fields.get("quality") is None else Quality.from_fields(fields.fields("quality"), labels)
        return cls(
            name=fields.text("name", NAME),
            architecture=read_architecture(fields.fields("architecture")),
            labels=labels,
            preprocessing=read_preprocessing(fields.fields("preprocessing")),
            calibration=Calibration.from_fields(fields.fields("calibration")),
            quality=quality,
            golden=tuple(
                Golden.from_fields(Fields(entry, "golden[]"), len(labels))
                for entry in fields.items("golden", least=1, most=16)
            ),
            origin=read_origin(fields.fields("origin")),
            files={name: File.from_fields(files.fields(name)) for name in files.value},
        )

    def as_dict(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "name": self.name,
            "architecture": dict(self.architecture),
            "labels": list(self.labels),
            "preprocessing": self.preprocessing.as_dict(),
            "calibration": self.calibration.as_dict(),
            "quality": self.quality and self.quality.as_dict(),
            "golden": [golden.as_dict() for golden in self.golden],
            "origin": dict(self.origin),
            "files": {name: file.as_dict() for name, file in self.files.items()},
        }


def read_labels(fields: Fields) -> tuple[str, ...]:
    labels = fields.items("labels", least=2)
    for label in labels:
        if not isinstance(label, str) or not label.strip() or len(label) > 200:
            raise fields.refuse("labels", f"texts of 1 to 200 characters, not {label!r:.50}")
    if len(set(labels)) != len(labels):
        twice = next(label for number, label in enumerate(labels) if label in labels[:number])
        raise ArtifactError(f"spec.json: the label {twice!r:.50} occurs twice")
    return tuple(labels)


def read_architecture(fields: Fields) -> Mapping[str, Any]:
    name = fields.text("name", NAME)
    if name not in KNOWN:
        raise ArtifactError(f"spec.json: the architecture {name!r} is not one that this program knows")
    fields.fields("head").text("kind", NAME)
    return fields.value


def read_preprocessing(fields: Fields) -> Preprocessing:
    try:
        return Preprocessing.from_dict(fields.value)
    except (ValueError, TypeError, KeyError) as error:
        raise ArtifactError(f"spec.json: preprocessing: {error}") from error


def read_origin(fields: Fields) -> Mapping[str, Any]:
    """The card: what a person must know before relying on an answer. What else the trainer recorded stays as it is."""
    for key in ("data", "license", "intended_use", "created"):
        fields.text(key)
    if not all(isinstance(line, str) for line in fields.items("not_for", least=1, most=50)):
        raise fields.refuse("not_for", "a list of texts")
    return fields.value
