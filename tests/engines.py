"""The engine process, started for a test with torch on the processor, and versions that torch can hold."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.networks import random_version
from classifier import artifact
from classifier.engines.remote import Remote
from classifier.predictor import Identity, Predictor

ROOT = Path(__file__).resolve().parent.parent
STARTER = ROOT / "classifier" / "starter"
RUN = "from classifier.engines import resident; resident.main()"


class EngineProcess:
    """Use it as a context. `before` is a line of Python that it runs first."""

    def __init__(self, folder: Path, *, device: str = "cpu:0", before: str = "pass", name: str = "engine") -> None:
        self.address = folder / "engine.sock"
        self.log = folder / f"{name}.log"
        self.words = ["--socket", str(self.address), "--device", device]
        self.before = before

    def __enter__(self) -> EngineProcess:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.wait(30)

    def start(self) -> None:
        with self.log.open("a") as log:
            command = [sys.executable, "-c", f"{self.before}; {RUN}", *self.words]
            self.process = subprocess.Popen(command, cwd=ROOT, stderr=log, env=os.environ)

    def wait_for(self, said: str) -> None:
        until(lambda: said in self.log.read_text() or self.process.poll() is not None)
        assert said in self.log.read_text()


def until(true: Callable[[], object], *, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.01)


def identity(folder: Path) -> Identity:
    return Identity(artifact.read(folder).name, 1, artifact.digest(folder))


def asking(address: Path, **changes: object) -> Predictor:
    """A predictor that asks the engine process there, patiently on a busy machine."""
    usual = {"threads": 2, "places": 64, "max_wait_seconds": 60.0}
    return Predictor(**usual | changes, remote=Remote(address, ask_seconds=30.0))


def load_there(predictor: Predictor, folder: Path) -> None:
    """Until the engine process holds it, too."""
    predictor.load(identity(folder), folder)
    remote = predictor.remote

    def held() -> bool:
        predictor.tend()
        return remote.device is not None

    until(held)


def small_versions(folder: Path) -> tuple[Path, Path]:
    """Two of resnet9 with other labels, 32 pixels."""
    return (
        random_version("resnet9", folder / "five", labels=5, side=32),
        random_version("resnet9", folder / "seven", labels=7, side=32),
    )
