"""What a training process is told: the file of its job, and beside it the manifest of the dataset."""

import json
import shlex
from pathlib import Path
from typing import Any

from django.conf import settings

from trainer import manifest
from trainer.models.run import TrainingRun
from trainer.recipe import Recipe


def write_job(run: TrainingRun, *, only_publish: bool) -> Path:
    """The job file of this attempt, and beside it the manifest of the dataset."""
    folder = run.folder
    work = folder / f"attempt-{run.attempt}"
    work.mkdir(parents=True, exist_ok=True)
    dataset, place = run.dataset, run.dataset.path
    photos = dataset.photos.filter(excluded=False).order_by("pixels", "pk").iterator(chunk_size=2000)
    manifest.write(
        work / "manifest.jsonl",
        (manifest.Entry(str(one.file(place)), one.sha256, one.label, one.part, one.name, one.pk) for one in photos),
    )
    parent = run.parent.version if run.parent else None
    earlier = [place for place in sorted(folder.glob("attempt-*"), key=number) if place != work]
    job = {
        "name": run.name,
        "recipe": run.recipe,
        "labels": dataset.labels,
        "manifest": str(work / "manifest.jsonl"),
        "fingerprint": run.fingerprint,
        "card": card(run),
        "command": command(run),
        "facts": {"run": run.pk, "dataset": str(dataset)} | ({"continues": str(parent)} if parent else {}),
        "work": str(work),
        "earlier": [str(place) for place in earlier],
        "out": str(work / ("best" if only_publish else "artifact")),
        "weights": str(settings.WEIGHTS_DIR) if settings.WEIGHTS_DIR else None,
        "continues": str(parent.path / "weights.safetensors") if parent else None,
        "features": str(settings.FEATURES_DIR),
        "features_bytes": settings.FEATURE_CACHE_BYTES,
        "only_publish": only_publish,
        "device": run.device.rpartition(" ")[2] or "cpu",
        "range_test": run.kind == run.Kind.RANGE_TEST,
    }
    file = work / ("publish.json" if only_publish else "train.json")
    file.write_text(json.dumps(job, ensure_ascii=False, indent=1))
    return file


def command(run: TrainingRun) -> str:
    """What trains the same again, from the start."""
    words = ["manage.py", "train", "--dataset", str(run.dataset), "--name", run.name]
    words += ["--preset", run.preset] if run.preset else []
    for name in sorted(run.changes):  # PostgreSQL keeps no order
        words += ["--set", f"{name}={run.changes[name]}"]
    words += ["--continue", str(run.parent_id)] if run.parent_id else []
    return shlex.join(words)


def number(place: Path) -> int:
    """Of an attempt's folder."""
    return int(place.name.rpartition("-")[2])


def card(run: TrainingRun) -> dict[str, Any]:
    """What is known of a model that somebody trains here; the rest is for who gives it away to say."""
    recipe = Recipe.from_dict(run.recipe)
    counts = ", ".join(f"{part} {count}" for part, count in run.dataset.counts.items())
    pretrained = recipe.weights == "pretrained"
    return {
        "data": f"{run.dataset}: photographs of {len(run.dataset.labels)} labels ({counts})",
        "backbone": f"{recipe.architecture}, {'pretrained' if pretrained else 'from random weights'}",
        "backbone_has_seen_the_photos": "The published weights were made from other photographs, mostly ImageNet's. "
        "Whether these are among them was not looked into."
        if pretrained
        else None,
        "license": "Nobody has stated one: it depends on the photographs and on the pretrained weights.",
        "intended_use": f"Telling apart the labels of {run.dataset.name}.",
        "not_for": ["Pictures of anything else: it names one of its labels for every picture"],
    }
