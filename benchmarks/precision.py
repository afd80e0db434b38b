"""What bfloat16 costs in accuracy: the same short training in both precisions, seed by seed.

    python -m benchmarks.precision --data cifar10.zip [--photos 45000] [--epochs 3] [--seeds 1 2 3] [--work FOLDER]

`--photos` of the data's training part train and 5,000 others of it validate, chosen by name and not by the seed. The
recipe is the preset cifar10-resnet9 with as many steps an epoch as it has on 45,000 photos. Each seed trains in float32
and in bfloat16, with the same first weights, order and augmentation. A second call with the same folder goes on where
the first one was stopped.
"""

import argparse
import hashlib
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from classifier.networks import catalogue
from trainer import environment, presets
from trainer.dataset import Dataset
from trainer.evaluate import rate
from trainer.fit import Fit
from trainer.ingest import source
from trainer.ingest.record import Record
from trainer.recipe import Recipe

VALIDATION = 5_000  # photos
STEPS = 113  # an epoch, as the preset has on 45,000 photos


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.precision", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder or zip of CIFAR-10 in class folders")
    parser.add_argument("--photos", type=int, default=45_000)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--work", type=Path, help="where checkpoints lie, for a second call")
    arguments = parser.parse_args()
    data = divided(list(source.records(arguments.data)), arguments.photos)
    preset = presets.PRESETS["cifar10-resnet9"]
    batch_size = -(-len(data.train) // STEPS)
    share = batch_size / preset.batch_size  # smaller batches take smaller steps
    recipe = preset.changed(
        epochs=arguments.epochs,
        batch_size=batch_size,
        learning_rate=preset.learning_rate * share**0.5,
        head_learning_rate=preset.head_learning_rate * share**0.5,
    )
    print(f"{len(data.train)} photos train, {len(data.validation)} validate; batch {batch_size}", flush=True)
    print("| seed | precision | validation top-1 (95 % interval) | loss | CPU seconds | load |", flush=True)
    print("|---:|---|---|---:|---:|---:|", flush=True)
    with tempfile.TemporaryDirectory(prefix="precision-") as scratch:
        folder = arguments.work or Path(scratch)
        compare(data, recipe, arguments.seeds, folder)


def compare(data: Dataset, recipe: Recipe, seeds: Sequence[int], folder: Path) -> None:
    """Print a line a training, then what the seeds have in common."""
    precisions = ("float32", "bfloat16")
    found: dict[str, list[tuple[float, float]]] = {precision: [] for precision in precisions}
    for seed in seeds:
        for precision in precisions:
            began = time.process_time()
            top1, loss = last_epoch(
                data, recipe.changed(precision=precision, seed=seed), folder / f"{precision}-{seed}"
            )
            found[precision].append((top1, loss))
            interval = rate(round(top1 * len(data.validation)), len(data.validation))
            print(
                f"| {seed} | {precision} | {top1:.2%} ({interval.low:.1%} to {interval.high:.1%}) | {loss:.4f} "
                f"| {time.process_time() - began:.0f} | {os.getloadavg()[0]:.1f} |",
                flush=True,
            )
    for name, number in (("top-1", 0), ("loss", 1)):
        per_seed = [other[number] - one[number] for one, other in zip(*found.values(), strict=True)]
        means = ", ".join(f"{key} {statistics.mean(one[number] for one in found[key]):.4f}" for key in precisions)
        differences = ", ".join(f"{one:+.4f}" for one in per_seed)
        print(f"{name}: {means}; {precisions[1]} less {precisions[0]}, by seed: {differences}", flush=True)


def last_epoch(data: Dataset, recipe: Recipe, work: Path) -> tuple[float, float]:
    """Top-1 (0..1) and loss on the validation photos after the last epoch."""
    torch.manual_seed(recipe.seed)
    net = catalogue.create(recipe.as_architecture(), label_count=len(data.labels))
    fit = Fit(net, data, recipe, recipe.preprocessing(), work=work)
    for _ in fit.epochs():
        pass
    return fit.history[-1]["validation_top1"], fit.history[-1]["validation_loss"]


def divided(records: list[Record], photos: int) -> Dataset:
    """`photos` that train and 5,000 that validate, as many of each label, from the part of the data that trains."""
    labels = tuple(sorted({record.label for record in records}))
    by_label: dict[str, list[Record]] = {label: [] for label in labels}
    for record in sorted(records, key=lambda one: hashlib.sha256(one.name.encode()).digest()):
        if record.part in (None, "train"):
            by_label[record.label].append(record)
    own, other = photos // len(labels), VALIDATION // len(labels)
    shortest = min(map(len, by_label.values()))
    if own + other > shortest:
        raise SystemExit(f"There are {shortest} photos of a label: --photos may be {(shortest - other) * len(labels)}.")
    return Dataset(
        labels=labels,
        train=[record for label in labels for record in by_label[label][other : other + own]],
        validation=[record for label in labels for record in by_label[label][:other]],
        test=[],
        fingerprint="",
        unreadable={},
        near_duplicates=0,
    )


if __name__ == "__main__":
    environment.restart_with_settings("benchmarks.precision")
    main()
