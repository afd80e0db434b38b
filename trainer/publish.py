"""A trained network -> an artifact: calibrated on validation, evaluated once on the sealed test photos, exported."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from classifier import artifact
from classifier.preprocess import Preprocessing
from classifier.spec import Spec
from trainer.calibrate import calibrate
from trainer.dataset import Dataset
from trainer.evaluate import logits_of, quality, torch_forward
from trainer.export import exported, golden

log = logging.getLogger(__name__)


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
) -> Published:
    """Write the artifact `out`, which must not exist; `origin` is asked for the card at the end.

    Raises ExportError or ArtifactError.
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
    with exported(net, architecture["name"], preprocessing) as files:
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
