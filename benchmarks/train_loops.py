"""A training in its own process that waits to be measured: the site's loop, or a DataLoader loop as notebooks have it.

    python -m benchmarks.train_loops WAY PRESET SIDE BATCH FOLDER

WAY is float32 or bfloat16 (the site's own loop), notebook or notebook-2-workers. It reads a number of steps from its
standard input, makes them and answers {"seconds": …}, again and again.
"""

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

LABELS = 10


class Pace:
    """Called after every step: answers when those that were asked for are done, and waits to be asked for more."""

    def __init__(self) -> None:
        self.left = 0
        self.began = 0.0
        self.wait()

    def wait(self) -> None:
        line = sys.stdin.readline()
        if not line:
            sys.exit(0)
        self.left, self.began = int(line), time.perf_counter()

    def step(self) -> None:
        self.left -= 1
        if self.left == 0:
            print(json.dumps({"seconds": time.perf_counter() - self.began}), flush=True)
            self.wait()


def ours(precision: str, preset: str, side: int, batch_size: int, folder: Path) -> Iterator[None]:
    """The loop that the site trains with, on photos that it has loaded."""
    from classifier.networks import catalogue, parts
    from trainer import presets
    from trainer.data import load
    from trainer.gpu import settle
    from trainer.ingest import source
    from trainer.loop import Step, Training, progress

    settle(torch.device("cpu"))
    recipe = presets.PRESETS[preset].changed(
        precision=precision, batch_size=batch_size, photo_size=side, image_size=side, epochs=1000
    )
    records = list(source.records(folder))
    labels = sorted({record.label for record in records})
    photos = load(records, labels, recipe.preprocessing())
    net = catalogue.create(recipe.as_architecture(), label_count=len(labels))
    training = Training(net, recipe, head=parts.head(net), steps_per_epoch=photos.steps(batch_size))
    for one in progress(training, photos, recipe.preprocessing()):
        if isinstance(one, Step):
            yield


def notebook(workers: int, preset: str, side: int, batch_size: int, folder: Path) -> Iterator[None]:
    """ImageFolder, transforms of one photo at a time, DataLoader, Adam, clipping, one rate a step: the usual loop."""
    from classifier.networks import catalogue, torchvision_ops
    from trainer import presets

    torchvision_ops.declare()
    from torchvision import datasets
    from torchvision import transforms as T

    recipe = presets.PRESETS[preset]
    changes: list[Any] = [T.RandomHorizontalFlip()]
    if recipe.crop_padding:
        changes.insert(0, T.RandomCrop(side, padding=recipe.crop_padding, padding_mode="reflect"))
    if recipe.rotation_degrees:
        scale = (1 - recipe.zoom, 1 + recipe.zoom)
        bilinear = T.InterpolationMode.BILINEAR
        shift = (recipe.shift, recipe.shift)
        changes.append(T.RandomAffine(recipe.rotation_degrees, translate=shift, scale=scale, interpolation=bilinear))
    preprocessing = recipe.preprocessing()
    changes += [T.ToTensor(), T.Normalize(preprocessing.mean, preprocessing.std)]
    photos = datasets.ImageFolder(str(folder), T.Compose(changes))
    loader = torch.utils.data.DataLoader(
        photos, batch_size, shuffle=True, num_workers=workers, persistent_workers=workers > 0
    )
    net = catalogue.create(recipe.as_architecture(), label_count=LABELS)
    yield from plain_loop(net, loader, clip_value=recipe.clip_value, weight_decay=recipe.weight_decay)


def plain_loop(net: nn.Module, loader: Any, *, clip_value: float, weight_decay: float) -> Iterator[None]:
    """Adam and one-cycle on what the loader gives, for ever."""
    optimizer = torch.optim.Adam(net.parameters(), 0.01, weight_decay=weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.01, epochs=1000, steps_per_epoch=len(loader))
    losses = []
    while True:
        net.train()
        for images, labels in loader:
            loss = F.cross_entropy(net(images), labels)
            losses.append(loss.item())
            loss.backward()
            if clip_value:
                nn.utils.clip_grad_value_(net.parameters(), clip_value)
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
            yield


def main() -> None:
    way, preset, side, batch_size, folder = sys.argv[1:]
    where = (preset, int(side), int(batch_size), Path(folder))
    steps = notebook(2 if "2-workers" in way else 0, *where) if way.startswith("notebook") else ours(way, *where)
    pace = Pace()
    for _ in steps:
        pace.step()


if __name__ == "__main__":
    main()
