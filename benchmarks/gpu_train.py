"""Seconds from nothing to a validation accuracy on CIFAR-10, by the loop that the site trains with.

    python -m benchmarks.gpu_train --data cifar10.zip [--device cuda:0] [--target 0.9089] [--set FIELD=VALUE]

The clock starts with the process: importing torch, reading the photos, every epoch and its validation count. 45,000
photos train and 5,000 validate; the recipe is the preset cifar10-resnet9. One line of JSON an epoch, and one at the end
with the hardware and the versions. It exits with 1 where the target was not reached. Several devices, which share the
batches:

    torchrun --standalone --nproc-per-node 2 -m benchmarks.gpu_train --data cifar10.zip --device cuda:0+cuda:1
"""

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.precision import divided
from classifier.networks import catalogue
from trainer import environment, presets
from trainer.fit import Fit
from trainer.gpu import describe, in_bfloat16, ready
from trainer.group import Group
from trainer.ingest import source
from trainer.origin import processor
from trainer.peers import company

TARGET = 0.9089  # what the system that this replaces reported, in 4 min 7 s


def since_start() -> float:
    """Seconds since this process began (Linux)."""
    ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


def tell(**facts: Any) -> None:
    print(json.dumps({"seconds": round(since_start(), 2), **facts}), flush=True)


def silent(**_: Any) -> None:
    pass


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_train", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder or zip of CIFAR-10, or its own binary files")
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--target", type=float, default=TARGET, help="validation accuracy, 0..1")
    parser.add_argument("--photos", type=int, default=45_000, help="that train")
    parser.add_argument(
        "--set", action="append", default=[], metavar="FIELD=VALUE", help="change a field of the recipe"
    )
    parser.add_argument("--compile", action="store_true", help="let torch.compile fuse the network first")
    arguments = parser.parse_args()
    names = arguments.device.split("+")
    if any(str(ready(name)) != name for name in names):
        sys.exit(f"There is no {arguments.device} here.")
    with company(names[: int(os.environ.get("WORLD_SIZE", 1))], (), command=(), file=Path()) as (group, device):
        reached = measure(arguments, group, device)
    sys.exit(0 if reached is not None else 1)


def measure(arguments: argparse.Namespace, group: Group, device: torch.device) -> float | None:
    """The seconds after which the target was reached. The first process of a group tells."""
    say = tell if group.leads else silent
    recipe = presets.changed(presets.PRESETS["cifar10-resnet9"], arguments.set)
    data = divided(list(source.records(arguments.data)), arguments.photos)
    torch.manual_seed(recipe.seed)
    net = catalogue.create(recipe.as_architecture(), label_count=len(data.labels))
    reached = None
    with tempfile.TemporaryDirectory(prefix="bench-") as work:
        fit = Fit(net, data, recipe, recipe.preprocessing(), work=Path(work), device=device, group=group)
        if arguments.compile:
            fit.training.net.compile()
        say(ready=f"{len(data.train)} photos train, {len(data.validation)} validate", photos_on=str(where(fit)))
        for measured in fit.epochs():
            top1 = measured.validation_top1
            say(
                epoch=measured.epoch.number,
                top1=round(top1.value, 4),
                interval=[round(top1.low, 4), round(top1.high, 4)],
                loss=round(measured.validation_loss, 4),
                images_per_second=round(measured.epoch.images_per_second),
            )
            if reached is None and top1.value >= arguments.target:
                reached = round(since_start(), 2)
    say(
        target=arguments.target,
        reached_after_seconds=reached,
        device=describe(device) if device.type == "cuda" else processor(),
        peak_gpu_bytes=torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None,
        processes=group.size,
        bfloat16=in_bfloat16(recipe, device),
        torch=torch.__version__,
        python=platform.python_version(),
        recipe=recipe.as_dict(),
    )
    return reached


def where(fit: Fit) -> torch.device:
    """Where the training photos lie."""
    pixels: torch.Tensor = fit.ground.source.pixels  # type: ignore[attr-defined]
    return pixels.device


if __name__ == "__main__":
    environment.restart_with_settings("benchmarks.gpu_train")
    main()
