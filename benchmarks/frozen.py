"""A head on a frozen backbone: the site's way beside a DataLoader loop that runs the whole network for every photo.

    python -m benchmarks.frozen --photos folder --networks resnet18 resnet50 --views 1 4

Both train on the same photos for as many epochs, and measure validation photos after each. The site's time counts
everything, from the network in memory to its best head: the export to ONNX Runtime, all pictures looked at, checkpoints
on the disk; its cache is empty. Of the other loop some photos are measured before and after, and their median is taken
for all photos of all epochs. Weights are random: speed does not ask what a network knows. One JSON line a measurement.
"""

import argparse
import copy
import io
import json
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from classifier.networks import catalogue, parts, torchvision_ops
from trainer import environment
from trainer.cache import FeatureCache
from trainer.dataset import Dataset
from trainer.fit import Fit
from trainer.ingest import source
from trainer.ingest.record import Record
from trainer.recipe import Recipe

torchvision_ops.declare()

from PIL import Image  # noqa: E402
from torchvision import transforms as T  # noqa: E402

VALIDATION = 0.1  # of the training photos


class Photos(torch.utils.data.Dataset[Any]):
    """Photos decoded and changed one at a time, as the usual notebooks do it."""

    def __init__(self, records: Sequence[Record], labels: Sequence[str], recipe: Recipe) -> None:
        self.records, self.labels = records, labels
        preprocessing = recipe.preprocessing()
        self.change = T.Compose(
            [
                T.RandomResizedCrop(recipe.image_size, scale=(recipe.crop_scale, 1)),
                T.RandomHorizontalFlip(recipe.flip),
                T.RandomRotation(recipe.rotation_degrees),
                T.ColorJitter(recipe.colour, recipe.colour, recipe.colour),
                T.ToTensor(),
                T.Normalize(preprocessing.mean, preprocessing.std),
            ]
        )

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        record = self.records[index]
        picture = Image.open(io.BytesIO(record.read())).convert("RGB")
        return self.change(picture), self.labels.index(record.label)


def plain(net: nn.Module, records: Sequence[Record], labels: Sequence[str], recipe: Recipe) -> float:
    """Seconds that one photo takes in one epoch of the usual loop."""
    loader = torch.utils.data.DataLoader(Photos(records, labels, recipe), recipe.batch_size, shuffle=True)
    net = copy.deepcopy(net).eval()  # frozen batch norm, and no dropout before the head
    parts.freeze(net, "head")
    head = net.get_submodule(parts.head(net))
    optimizer = torch.optim.Adam(head.parameters(), recipe.head_learning_rate)
    began = time.perf_counter()
    for images, wanted in loader:
        optimizer.zero_grad()
        F.cross_entropy(net(images), wanted).backward()
        optimizer.step()
    return (time.perf_counter() - began) / len(records)


def ours(net: nn.Module, dataset: Dataset, recipe: Recipe, *, cache: FeatureCache) -> float:
    """Seconds of a whole fit."""
    net = copy.deepcopy(net)
    with tempfile.TemporaryDirectory(prefix="breedsite-frozen-") as work:
        began = time.perf_counter()
        epochs = list(Fit(net, dataset, recipe, recipe.preprocessing(), work=Path(work), cache=cache).epochs())
        seconds = time.perf_counter() - began
    assert len(epochs) == recipe.epochs
    return seconds


def measure(name: str, view_counts: Sequence[int], dataset: Dataset, *, epochs: int, sample: int) -> None:
    """One network: the usual loop, then the site's with each number of views and once more from the cache, in turns."""
    recipe = Recipe(architecture=name, trainable="head", epochs=epochs)
    torch.manual_seed(0)
    net = catalogue.create(recipe.as_architecture(), label_count=len(dataset.labels))
    some = dataset.train[:: max(len(dataset.train) // sample, 1)][:sample]
    photo_seconds = [plain(net, some, dataset.labels, recipe)]
    took: dict[int, tuple[float, float]] = {}
    for views in view_counts:
        chosen = recipe.changed(views=views)
        with tempfile.TemporaryDirectory(prefix="breedsite-frozen-") as folder:
            cache = FeatureCache(Path(folder), max_bytes=10**10)
            took[views] = ours(net, dataset, chosen, cache=cache), ours(net, dataset, chosen, cache=cache)
        photo_seconds.append(plain(net, some, dataset.labels, recipe))
    photos = len(dataset.train) + len(dataset.validation)
    usual = statistics.median(photo_seconds) * photos * epochs
    for views, (first, again) in took.items():
        line = {
            "network": name,
            "views": views,
            "epochs": epochs,
            "photos": photos,
            "seconds": round(first, 1),
            "seconds_from_the_cache": round(again, 1),
            "usual_loop_seconds": round(usual),
            "usual_loop_ms_a_photo": [round(1000 * one, 1) for one in photo_seconds],
            "times_as_fast": round(usual / first, 1),
            "load": [round(one, 1) for one in os.getloadavg()[:2]],
        }
        print(json.dumps(line), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.frozen", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--photos", type=Path, required=True, help="zip or folder of class folders")
    parser.add_argument("--networks", nargs="+", default=["resnet18", "resnet50"])
    parser.add_argument("--views", nargs="+", type=int, default=[1, 4])
    parser.add_argument("--count", type=int, default=1000, help="training photos (default: 1000)")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--sample", type=int, default=128, help="photos of the usual loop that are measured each time")
    arguments = parser.parse_args()
    records = list(source.records(arguments.photos))
    wanted = round(arguments.count * (1 + VALIDATION))
    records = records[:: max(len(records) // wanted, 1)][:wanted]
    dataset = Dataset(
        labels=tuple(sorted({record.label for record in records})),
        train=records[: arguments.count],
        validation=records[arguments.count :],
        test=[],
        fingerprint="",
        unreadable={},
        near_duplicates=0,
    )
    for name in arguments.networks:
        measure(name, arguments.views, dataset, epochs=arguments.epochs, sample=arguments.sample)


if __name__ == "__main__":
    environment.restart_with_settings("benchmarks.frozen")
    main()
