"""One version, or several with the same labels that answer together, for photos by the dozen.

Together they give the mean of their probabilities (as an ensemble of networks is usually read: Lakshminarayanan et al.
2017, arXiv:1612.01474), or the label that most of them find, where the best of them decides between equals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path

import numpy as np

from classifier import artifact, guard, preprocess
from classifier.artifact import ArtifactError, Engine
from classifier.engines.onnx import OnnxEngine
from classifier.preprocess import Preprocessing
from classifier.sandbox import Sandbox
from classifier.spec import Spec


class Combine(StrEnum):
    """How several become one answer."""

    MEAN = "mean"
    VOTE = "vote"


class NotTogether(ValueError):
    """These versions cannot answer together; the sentence says why."""


@dataclass(frozen=True)
class Member:
    """A verified version with its engine; `order` are the places of the ensemble's labels among its own."""

    spec: Spec
    engine: Engine
    order: np.ndarray  # (K,)

    def probabilities(self, squares: np.ndarray) -> np.ndarray:
        """uint8 (B, H, W, 3) -> (B, K) in the order of the ensemble's labels"""
        images = squares if self.engine.normalizes else preprocess.normalize(squares, self.spec.preprocessing)
        logits = self.engine(images)  # (B, K)
        return self.spec.calibration.probabilities(logits)[:, self.order]


@dataclass(frozen=True)
class Decoded:
    """A photo as the members see it."""

    squares: tuple[np.ndarray, ...]  # uint8 (H, W, 3) each, one for each size that members want
    animated: bool  # there is more than the one picture that was looked at


@dataclass(frozen=True)
class Found:
    """What was found in one photo."""

    probabilities: np.ndarray  # (K,) float32, 0..1, sum 1: the mean of the members'
    index: int  # of the label; with votes it need not be the most probable
    sure: bool


class Ensemble:
    """Members in order of their quality, the best first; one alone is an ensemble too."""

    def __init__(self, members: Sequence[Member], combine: Combine = Combine.MEAN) -> None:
        self.members = tuple(members)
        self.combine = combine
        self.labels = self.members[0].spec.labels
        self.sizes = tuple(dict.fromkeys(size(member.spec.preprocessing) for member in self.members))
        # What each found out for itself alone; together they are taken for as careful as the most careful of them.
        self.unsure_below = max(member.spec.calibration.unsure_below for member in self.members)

    @classmethod
    def load(
        cls, folders: Sequence[tuple[Path, str]], combine: Combine, *, threads: int, device: str = "cpu"
    ) -> Ensemble:
        """Of folders with the digests that they must have. Raises ArtifactError, NotTogether."""
        loaded = [verified(folder, digest, threads=threads, device=device) for folder, digest in folders]
        labels = common_labels([spec for spec, _ in loaded])
        orders = [np.array([spec.labels.index(label) for label in labels]) for spec, _ in loaded]
        return cls([Member(*parts, order) for parts, order in zip(loaded, orders, strict=True)], combine)

    @property
    def device(self) -> str:
        """What answers: the processor, or torch's name of another device; both where one of them was too small."""
        return " and ".join(sorted({str(getattr(member.engine, "device", "cpu")) for member in self.members}))

    def decode(self, sandbox: Sandbox, data: bytes) -> Decoded:
        """The bytes of a photo -> what `answer` takes. Raises Refused."""
        header = guard.check(data, sandbox.limits)
        return Decoded(tuple(map(partial(sandbox.square, data), self.sizes)), header.animated)

    def answer(self, photos: Sequence[Decoded]) -> list[Found]:
        """What is in each of B photos."""
        if not photos:
            return []
        stacked = {at: np.stack([photo.squares[n] for photo in photos]) for n, at in enumerate(self.sizes)}
        each = np.stack([member.probabilities(stacked[size(member.spec.preprocessing)]) for member in self.members])
        mean = each.mean(axis=0)  # (B, K)
        chosen = mean.argmax(axis=1) if self.combine is Combine.MEAN else votes(each)  # (B,)
        return [
            Found(row.astype(np.float32), int(index), bool(row[index] >= self.unsure_below))
            for row, index in zip(mean, chosen, strict=True)
        ]


def verified(folder: Path, digest: str, *, threads: int, device: str) -> tuple[Spec, Engine]:
    """A sound model, its engine beside it: ONNX Runtime on the processor, torch elsewhere. Raises ArtifactError."""
    if artifact.digest(folder) != digest:
        raise ArtifactError(f"spec.json in {folder.name} is not the one that was installed")
    if device != "cpu":
        return on_device(folder, device)
    engines: list[Engine] = []

    def keep(file: Path, **_: int) -> Engine:
        engines.append(OnnxEngine(file, threads=threads))
        return engines[0]

    return artifact.verify(folder, keep), engines[0]


def on_device(folder: Path, device: str) -> tuple[Spec, Engine]:
    """The same on a device of torch's, which is imported here and nowhere else. Raises ArtifactError."""
    from classifier.engines.torch import TorchEngine

    engines: list[TorchEngine] = []

    def keep(file: Path, **_: int) -> Engine:
        engines.append(TorchEngine(file.parent, artifact.read(file.parent), device=device))
        return engines[0]

    spec = artifact.verify(folder, keep)  # in float32, before it goes over to what is quicker
    if engines[0].device.type != "cpu":  # most processors are slower in bfloat16
        engines[0].hasten(np.stack([artifact.golden_input(one.seed, spec.preprocessing) for one in spec.golden]), spec)
    return spec, engines[0]


def size(preprocessing: Preprocessing) -> Preprocessing:
    """What a sandbox has to know of it: colours are made of its pixels later."""
    return Preprocessing(resize=preprocessing.resize, crop=preprocessing.crop)


def votes(each: np.ndarray) -> np.ndarray:
    """(M, B, K) probabilities of M members, the best first -> (B,) the label that most of them find.

    Between labels with as many votes that decides which the best of the members who voted for one of them has found.
    """
    ballots = each.argmax(axis=2)  # (M, B)
    counts = (ballots[:, None, :] == ballots[None, :, :]).sum(axis=0)  # (M, B) how many voted as this member did
    first = (counts == counts.max(axis=0)).argmax(axis=0)  # (B,) the best member with a label of the most votes
    return np.asarray(np.take_along_axis(ballots, first[None], axis=0)[0])


def common_labels(specs: Sequence[Spec]) -> tuple[str, ...]:
    """The labels of all, in the order of the first. Raises NotTogether where they differ."""
    first = specs[0]
    for other in specs[1:]:
        if missing := set(first.labels) ^ set(other.labels):
            raise NotTogether(
                f"{first.name} and {other.name} do not know the same labels: {min(missing)!r} is known to one alone."
            )
    return first.labels
