"""One part of the chaos in this process, whose environment names its installation already. See `__main__`."""

import importlib
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from random import Random

import django


@dataclass(frozen=True)
class Options:
    """What every part is told."""

    size: int  # how often
    folder: Path  # the data folder of its installation, empty at first
    seed: int
    photos: int  # of each label, where an epoch has to take its time

    def random(self) -> Random:
        return Random(self.seed)


def say(text: str) -> None:
    """How it goes, for whoever waits."""
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    name, size, seed, photos, folder = sys.argv[1:]
    django.setup()
    part = importlib.import_module(f"benchmarks.chaos.{name}")
    print(json.dumps(part.measure(Options(int(size), Path(folder), int(seed), int(photos)))))


if __name__ == "__main__":
    main()
