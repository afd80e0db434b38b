"""Small trainings for the tests: a dataset of coloured squares as a manifest, a small network, a job file."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.photos import draw, encoded
from trainer import environment, manifest
from trainer.split import PARTS

ROOT = Path(__file__).resolve().parent.parent
LABELS = ["chow", "pug", "samoyed"]
RECIPE: dict[str, Any] = {
    "architecture": "squeezenet1_1",
    "weights": "random",
    "batch_norm": "trained",
    "photo_size": 32,
    "image_size": 32,
    "epochs": 3,
    "batch_size": 8,
    "learning_rate": 1e-3,
    "head_learning_rate": 1e-3,
}
CARD = {
    "data": "coloured squares",
    "backbone": "none",
    "backbone_has_seen_the_photos": None,
    "license": "none",
    "intended_use": "tests",
    "not_for": ["anything else"],
}


def write_manifest(folder: Path, count: int = 10) -> Path:
    """`count` photos of each label, the first two of which validate and test."""
    entries = []
    for label, name in enumerate(LABELS):
        for number in range(count):
            data = encoded(draw(label, number))
            sha256 = hashlib.sha256(data).hexdigest()
            file = folder / f"{sha256}.png"
            file.write_bytes(data)
            part = PARTS[{0: 1, 1: 2}.get(number, 0)]
            entries.append(manifest.Entry(str(file), sha256, name, part, f"{name}/{number}.png", 100 + len(entries)))
    manifest.write(folder / "manifest.jsonl", entries)
    return folder / "manifest.jsonl"


def write_job(folder: Path, **changes: Any) -> Path:
    """A job file; `recipe` changes fields of the recipe, other names those of the job."""
    photos = folder / "photos"
    if not photos.exists():
        photos.mkdir()
        write_manifest(photos)
    job = {
        "name": "squares",
        "recipe": RECIPE | changes.pop("recipe", {}),
        "labels": LABELS,
        "manifest": str(photos / "manifest.jsonl"),
        "fingerprint": "0" * 64,
        "card": CARD,
        "command": "make test",
        "facts": {},
        "work": str(folder / "attempt-1"),
        "earlier": [],
        "out": str(folder / "artifact"),
    } | changes
    file = folder / f"{Path(job['work']).name}.json"
    file.write_text(json.dumps(job))
    return file


def start(job: Path) -> subprocess.Popen[str]:
    """The process of a job; its log lies beside it."""
    return subprocess.Popen(
        [sys.executable, "-m", "trainer.process", str(job)],
        cwd=ROOT,
        env=environment.completed(os.environ),
        stdout=subprocess.PIPE,
        stderr=job.with_suffix(".log").open("a"),
        text=True,
    )


def events(process: subprocess.Popen[str]) -> list[dict[str, Any]]:
    """Everything it says until its end."""
    out, _ = process.communicate(timeout=100)
    return [json.loads(line) for line in out.splitlines()]
