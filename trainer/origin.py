"""Where a model comes from: what its card tells people, and what it takes to make it again."""

import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from trainer.recipe import Recipe

PACKAGES = ("torch", "torchvision", "timm", "numpy", "pillow", "onnx", "onnxscript", "onnxruntime", "safetensors")
ROOT = Path(__file__).resolve().parent.parent
SOURCES = ("trainer", "classifier/networks", "classifier/preprocess.py", "classifier/colour.py")  # decide the weights


@dataclass(frozen=True)
class Card:
    """What only a person can say of a model."""

    data: str
    backbone: str
    backbone_has_seen_the_photos: str | None  # a sentence, None where it has not
    license: str
    intended_use: str
    not_for: Sequence[str]


def origin(
    card: Card,
    recipe: Recipe,
    *,
    command: str,
    dataset_fingerprint: str,
    duration_seconds: float,
    facts: Mapping[str, Any],
) -> dict[str, Any]:
    """The `origin` of an artifact's spec; `facts` are further measured values, such as the chosen epoch."""
    return {
        "data": card.data,
        "backbone": card.backbone,
        "backbone_has_seen_the_photos": card.backbone_has_seen_the_photos,
        "license": card.license,
        "intended_use": card.intended_use,
        "not_for": list(card.not_for),
        "command": command,
        "recipe": recipe.as_dict(),
        "seed": recipe.seed,
        "dataset_fingerprint": dataset_fingerprint,
        "code_version": code_version(),
        "packages": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
        "device": f"{processor()}, {torch.get_num_threads()} threads",
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "duration_seconds": round(duration_seconds),
        **facts,
    }


def code_version() -> str:
    """The last commit that touched the code which makes models, marked where files differ from it; "unknown" outside a
    checkout."""

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments, "--", *SOURCES], cwd=ROOT, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        commit = git("log", "-1", "--format=%h")
        return commit + (" with changes" if git("status", "--porcelain") else "") if commit else "unknown"
    except (OSError, subprocess.CalledProcessError):  # no git, or no checkout
        return "unknown"


def processor() -> str:
    """The processor's own name."""
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
