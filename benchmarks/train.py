"""Images a second of a training step beside a per-image DataLoader loop in float32, as notebooks have it.

    python -m benchmarks.train [--cases resnet9-32 …] [--rounds 5] [--peers] [--environment var/peers-training]

Same network, same arithmetic, same JPEG files (generated, of the training's own side, so that decoding costs least):
`benchmarks.train_loops` has both loops. Each way is a process of its own that waits while another one is measured; a
round measures a few steps of every way, one after another, and the medians of the rounds are printed with their ratio
to the faster of the two DataLoader loops (which loads within the loop, or in two processes). `--peers` adds fastai, and
timm's loader, in an environment of their own, which the first call makes; on ResNet9 alone.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.peers import peer_python
from benchmarks.site import ROOT
from trainer import environment

LABELS = 10
NOTEBOOK = ("notebook", "notebook-2-workers")
WAYS = (*NOTEBOOK, "float32", "bfloat16")
PEERS = ("fastai", "fastai-2-workers", "timm-loader", "timm-loader-2-workers")
STEPS = 2  # a round


@dataclass(frozen=True)
class Case:
    """What is trained: a preset, at its own side and batch."""

    preset: str
    side: int  # pixels
    batch_size: int


CASES = {
    "resnet9-32": Case("cifar10-resnet9", 32, 400),
    "resnet9-64": Case("animals10-resnet9", 64, 128),
    "plain-cnn-128": Case("animals10-cnn", 128, 128),
}


class Worker:
    """One way of training in its own process: it has made its first steps and waits."""

    def __init__(self, way: str, case: Case, photos: Path, python: Path) -> None:
        module = "benchmarks.train_peers" if way in PEERS else "benchmarks.train_loops"
        ours = way in ("float32", "bfloat16")
        self.process = subprocess.Popen(
            [str(python), "-m", module, way, case.preset, str(case.side), str(case.batch_size), str(photos)],
            cwd=ROOT,
            env=environment.completed(os.environ) if ours else dict(os.environ),  # as each is started in earnest
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.images = case.batch_size * STEPS
        self.per_second()  # the first steps are slower

    def per_second(self) -> float:
        """Images a second of the next steps."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(f"{STEPS}\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit(f"{self.process.args} ended: its last words stand above.")
        return self.images / float(json.loads(answer)["seconds"])

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


def measure(case: Case, ways: dict[str, Path], *, rounds: int) -> dict[str, list[float]]:
    """Images a second of each way in each round."""
    found: dict[str, list[float]] = {way: [] for way in ways}
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        photos = write_photos(Path(folder), case)
        workers: dict[str, Worker] = {}
        try:
            for way, python in ways.items():
                workers[way] = Worker(way, case, photos, python)
            for _ in range(rounds):
                for way in random.sample(list(ways), len(ways)):
                    found[way].append(workers[way].per_second())
        finally:
            for worker in workers.values():
                worker.end()
    return found


def write_photos(folder: Path, case: Case) -> Path:
    """Class folders of smooth pictures with some detail, eight batches of them."""
    draws = np.random.default_rng(1)
    for number in range(8 * case.batch_size):
        coarse = Image.fromarray(draws.integers(0, 256, (8, 8, 3), np.uint8))
        file = folder / f"label-{number % LABELS}" / f"{number:05}.jpg"
        file.parent.mkdir(exist_ok=True)
        coarse.resize((case.side, case.side), Image.Resampling.BICUBIC).save(file, quality=90)
    return folder


def table(name: str, found: dict[str, list[float]]) -> str:
    """Medians, and the ratios of single rounds to the faster loop of the old kind: median, smallest, largest."""
    best = max((way for way in NOTEBOOK if way in found), key=lambda way: statistics.median(found[way]))
    lines = [f"| {name} | images/s | times {best} (rounds) |", "|---|---:|---:|"]
    for way, rates in found.items():
        ratios = [rate / base for rate, base in zip(rates, found[best], strict=True)]
        spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        lines.append(f"| {way} | {statistics.median(rates):.1f} | {spread} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.train", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peers", action="store_true", help="fastai and timm's loader as well")
    parser.add_argument("--environment", type=Path, default=ROOT / "var" / "peers-training")
    arguments = parser.parse_args()
    ways = dict.fromkeys(WAYS, Path(sys.executable))
    if arguments.peers:
        requirements = ROOT / "benchmarks" / "requirements-peers-training.txt"
        ways |= dict.fromkeys(PEERS, peer_python(arguments.environment.resolve(), requirements))
    for name in arguments.cases:
        before = os.getloadavg()[0]
        some = {way: python for way, python in ways.items() if way not in PEERS or name.startswith("resnet9")}
        print(table(name, measure(CASES[name], some, rounds=arguments.rounds)), flush=True)
        print(
            f"{arguments.rounds} rounds of {STEPS} steps; load {before:.1f} to {os.getloadavg()[0]:.1f}\n", flush=True
        )


if __name__ == "__main__":
    main()
