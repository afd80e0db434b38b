"""A trained network -> an artifact: calibrated on validation, evaluated once on the sealed test photos, exported."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from classifier import artifact
from classifier.engines.onnx import OnnxEngine
from classifier.preprocess import Preprocessing
from classifier.spec import Spec
from trainer import answers as answered
from trainer.calibrate import calibrate
from trainer.dataset import Dataset
from trainer.evaluate import Forward, log_softmax, logits_of, quality, torch_forward
from trainer.export import exported, golden

log = logging.getLogger(__name__)

CHUNK = 256  # photos whose logits are in memory at once


@dataclass(frozen=True)
class Sheet:
    """A file for the answer to every photo (trainer.answers), and the photos' primary keys by part, in the order of the
    dataset's records; a part that is not named is left out."""

    file: Path
    photos: Mapping[str, Sequence[int]]
    say: Callable[[int, int], None] = lambda done, total: None  # how many of the photos are answered


@dataclass(frozen=True)
class Published:
    """What was written, and the test photos' logits as torch gave them, for whoever compares an engine with them."""

    spec: Spec
    digest: str
    test_logits: np.ndarray  # (N, K) uncalibrated


def publish(
    net: nn.Module,
    dataset: Dataset,
    preprocessing: Preprocessing,
    *,
    name: str,
    architecture: Mapping[str, Any],
    origin: Callable[[], Mapping[str, Any]],
    out: Path,
    sheet: Sheet | None = None,
) -> Published:
    """Write the artifact `out`, which must not exist; `origin` is asked for the card at the end. Before it appears the
    `sheet` is filled.

    Raises ExportError or ArtifactError, or OSError when the disk is full.
    """
    forward = torch_forward(net)
    validation = logits_of(forward, dataset.validation, preprocessing)
    calibration = calibrate(validation, np.array(dataset.answers(dataset.validation)))
    logits = logits_of(forward, dataset.test, preprocessing)
    answers = np.array(dataset.answers(dataset.test))
    measured = quality(logits / calibration.temperature, answers, dataset.labels, split="test")
    log.info("temperature %.3f, unsure below %.3f", calibration.temperature, calibration.unsure_below)
    log.info(
        "test: top-1 %.4f (%.4f to %.4f), top-5 %.4f, n = %d",
        measured.top1.value,
        measured.top1.low,
        measured.top1.high,
        measured.top5.value,
        measured.n,
    )
    net.cpu()  # what is exported does not ask for a GPU
    out.parent.mkdir(parents=True, exist_ok=True)
    # Beside its place: on the disk whose room is looked after, and gone with the attempt if this process is killed.
    with exported(net, architecture["name"], preprocessing, within=out.parent) as files:
        if sheet is not None:
            engine = OnnxEngine(files["model.onnx"], threads=torch.get_num_threads())
            known = {"validation": validation, "test": logits}
            fill(sheet, dataset, preprocessing, engine, known=known, temperature=calibration.temperature)
        spec = Spec(
            name=name,
            architecture=architecture,
            labels=dataset.labels,
            preprocessing=preprocessing,
            calibration=calibration,
            quality=measured,
            golden=golden(net, preprocessing),
            origin=origin(),
        )
        digest = artifact.write(out, spec, files)
    return Published(artifact.read(out), digest, logits)


def fill(
    sheet: Sheet,
    dataset: Dataset,
    preprocessing: Preprocessing,
    forward: Forward,
    *,
    known: Mapping[str, np.ndarray],
    temperature: float,
) -> None:
    """Write down the answer to every photo of the sheet; those whose logits (N, K) are not `known` are asked for."""
    rows = []
    done, total = 0, sum(len(photos) for photos in sheet.photos.values())
    for part, photos in sheet.photos.items():
        records = getattr(dataset, part)
        for start in range(0, len(records), CHUNK):
            some = slice(start, start + CHUNK)
            logits = known[part][some] if part in known else logits_of(forward, records[some], preprocessing)
            probabilities = np.exp(log_softmax(logits / temperature))
            labels = np.array(dataset.answers(records[some]))
            rows.append(answered.rows(probabilities, labels, photos[some], part=part))
            done += len(labels)
            sheet.say(done, total)
    answered.write(sheet.file, answered.in_order(rows))
