"""A model version of any architecture with random weights, for measurements of speed alone."""

from datetime import UTC, datetime
from pathlib import Path

import torch

from classifier import artifact
from classifier.networks import catalogue
from classifier.preprocess import Preprocessing
from classifier.spec import Calibration, Spec
from trainer.export import exported, golden


def random_version(architecture: str, folder: Path, *, labels: int = 120, side: int = 224) -> Path:
    """Write the artifact `folder`, which must not exist, and return it."""
    torch.manual_seed(0)
    described = {"name": architecture, "head": {"kind": "linear"}}
    net = catalogue.create(described, label_count=labels).eval()
    preprocessing = Preprocessing(resize=side, crop=side)
    with exported(net, architecture, preprocessing) as files:
        spec = Spec(
            name=architecture,
            architecture=described,
            labels=tuple(f"label_{number:03}" for number in range(labels)),
            preprocessing=preprocessing,
            calibration=Calibration(
                temperature=1.0, unsure_below=0.0, split="validation", n=1, ece_before=0.0, ece_after=0.0
            ),
            quality=None,
            golden=golden(net, preprocessing),
            origin={
                "data": "none: random weights",
                "license": "nothing to license",
                "intended_use": "measurements of speed",
                "not_for": ["answers: it has learnt nothing"],
                "created": datetime.now(UTC).isoformat(timespec="seconds"),
            },
        )
        artifact.write(folder, spec, files)
    return folder
