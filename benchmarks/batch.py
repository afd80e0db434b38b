"""Photos by the thousand: a batch beside the bare decode + forward limit of the same machine, in the same run.

    python -m benchmarks.batch --photos FOLDER [--version NAME=FOLDER …] [--out FILE]

In every round the limit is measured, then a batch of so many photos as take `--seconds`, then the limit again. The
batch's seconds are those of its row, from the claim to the end: it reads each file, decodes it in a child process with
limits, asks the network, and stores a row for each photo with all its probabilities. Without `--version` it measures
the starter, and resnet18 with random weights.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.client import photos_below
from benchmarks.networks import random_version
from benchmarks.serve import run_module
from benchmarks.site import ROOT


def folder_of(photos: Sequence[Path], count: int, folder: Path) -> Path:
    """So many photos, the given ones again and again."""
    folder.mkdir()
    for number in range(count):
        file = photos[number % len(photos)]
        shutil.copyfile(file, folder / f"{number:06d}{file.suffix}")
    return folder


def answer(photos: Path) -> dict[str, float]:
    """In a process of its own, with settings from the environment: answer a batch as a worker does."""
    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "breedsite.settings")
    django.setup()
    from classifier import tasks
    from classifier.models import Batch, ModelVersion

    active = ModelVersion.objects.active()
    assert active is not None
    batch = Batch.objects.begin([active], source=photos, ring=False)
    tasks.predict_batches()
    batch.refresh_from_db()
    assert batch.status == Batch.Status.FINISHED and batch.started_at and batch.finished_at, batch.failure
    assert batch.counts["answered"] == batch.progress_total
    seconds = (batch.finished_at - batch.started_at).total_seconds()
    return {"photos": batch.progress_total, "seconds": seconds, "per_second": batch.progress_total / seconds}


def measure(version: Path, source: Path, *, rounds: int, seconds: float, scratch: Path) -> dict[str, Any]:
    environment = {**os.environ, "DATA_DIR": str(scratch / "var")}
    for command in (["migrate", "-v0"], ["importversion", str(version), "--activate"]):
        words = [sys.executable, "manage.py", *command]
        subprocess.run(words, cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL)
    photos = photos_below(source, 240)
    limit = ["--version", version, "--photos", source, "--seconds", seconds / 2]
    shares, rates, limits = [], [], []
    folder: Path | None = None
    before = run_module("benchmarks.limit", *limit)["per_second"]
    for _ in range(rounds):
        folder = folder or folder_of(photos, max(64, round(before * seconds)), scratch / "photos")
        inside = [sys.executable, "-m", "benchmarks.batch", "--photos", str(folder), "--inside"]
        done = subprocess.run(inside, cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE, text=True)
        rates.append(json.loads(done.stdout)["per_second"])
        after = run_module("benchmarks.limit", *limit)["per_second"]
        limits.append((before + after) / 2)
        shares.append(rates[-1] / limits[-1])
        before = after
    return {
        "photos": len(list(folder.iterdir())) if folder else 0,
        "limit_per_second": round(statistics.median(limits), 1),
        "batch_per_second": round(statistics.median(rates), 1),
        "share_of_limit": round(statistics.median(shares), 3),
        "shares": [round(share, 3) for share in shares],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--photos", type=Path, required=True, help="a folder of real photos")
    parser.add_argument("--version", action="append", metavar="NAME=FOLDER", help="measure this model version")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10, help="of each batch")
    parser.add_argument("--out", type=Path, help="write the figures to this JSON file as well")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        print(json.dumps(answer(options.photos)))
        return
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="bench-") as place:
        versions = dict(item.split("=", 1) for item in options.version or [])
        folders = {name: Path(folder) for name, folder in versions.items()} or {
            "starter": ROOT / "classifier" / "starter",
            "resnet18": random_version("resnet18", Path(place) / "resnet18"),
        }
        for name, folder in folders.items():
            scratch = Path(place) / f"of-{name}"
            scratch.mkdir()
            figures[name] = measure(
                folder, options.photos, rounds=options.rounds, seconds=options.seconds, scratch=scratch
            )
            print(json.dumps({name: figures[name]}, indent=1), flush=True)
    if options.out:
        options.out.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
