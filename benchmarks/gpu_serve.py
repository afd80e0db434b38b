"""Photos answered on a GPU, by the batch and one by one over HTTP, beside what is bare of both on the same machine.

    python -m benchmarks.gpu_serve --photos FOLDER [--device cuda:0] [--networks starter resnet50 …] [--out FILE]

For each network, in the same run: the engine alone, on pictures that are decoded already; the bare pass, in which
sandboxes on all cores decode while the engine works, without a database; a batch as a worker answers it, between two
measurements of the bare pass; `predictImage` through the engine process, and without it; and how far its probabilities
lie from those of ONNX Runtime on the processor. resnets have random weights: speed does not ask what a network knows.
`--device cpu` tries all of it without a GPU, with torch on the processor, but for batches, which ONNX Runtime answers
there.
"""

import argparse
import contextlib
import http.client
import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.batch import folder_of
from benchmarks.client import TYPES, photos_below
from benchmarks.networks import random_version
from benchmarks.serve import load
from benchmarks.site import ROOT, Site, site
from classifier import preprocess
from classifier.artifact import Engine
from classifier.decoding import Decoders
from classifier.engines.onnx import OnnxEngine
from classifier.engines.torch import exists
from classifier.ensemble import on_device
from classifier.guard import Refused
from classifier.preprocess import Preprocessing
from classifier.sandbox import Sandbox
from classifier.spec import Spec
from trainer.gpu import describe
from trainer.origin import processor

GROUP = 128  # photos that a batch gives a GPU at a time
SIZES = (1, 16, 64, GROUP)  # pictures in a pass
CONCURRENCIES = (1, 16, 64)


def alone(engine: Engine, pictures: np.ndarray, *, seconds: float) -> dict[int, float]:
    """pictures uint8 (B, H, W, 3) -> pictures a second in passes of each size, to the device and back."""
    rates = {}
    for size in SIZES:
        some = np.ascontiguousarray(np.resize(pictures, (size, *pictures.shape[1:])))
        engine(some)  # warm
        done, start = 0, time.perf_counter()
        while (taken := time.perf_counter() - start) < seconds / len(SIZES) or not done:
            engine(some)
            done += size
        rates[size] = round(done / taken, 1) if done else 0.0
    return rates


def bare(engine: Engine | None, photos: Sequence[bytes], preprocessing: Preprocessing, *, seconds: float) -> float:
    """Photos a second, decoded by sandboxes on all cores while the engine works; without an engine decoded alone."""

    def see(sandbox: Sandbox, photo: bytes) -> np.ndarray:
        return sandbox.square(photo, preprocessing)

    with Decoders(os.cpu_count() or 1) as decoders:
        seen = decoders.in_order(itertools.cycle(photos), see, ahead=2 * GROUP)
        with contextlib.closing(seen):
            next(seen)  # every sandbox has started
            done, start = 0, time.perf_counter()
            while time.perf_counter() - start < seconds:
                group = [square for _, square in itertools.islice(seen, GROUP) if not isinstance(square, Refused)]
                if engine is not None:
                    engine(np.stack(group))
                done += len(group)
            return done / (time.perf_counter() - start)


def difference(engine: Engine, version: Path, spec: Spec, pictures: np.ndarray) -> dict[str, float]:
    """How far the probabilities of pictures uint8 (B, H, W, 3) lie from those that the processor gives."""
    onnx = OnnxEngine(version / "model.onnx", threads=os.cpu_count() or 1)
    here = spec.calibration.probabilities(onnx(preprocess.normalize(pictures, spec.preprocessing)))
    there = spec.calibration.probabilities(engine(pictures))
    return {
        "most": float(np.abs(here - there).max()),
        "mean": float(np.abs(here - there).mean()),
        "same_label": float((here.argmax(axis=1) == there.argmax(axis=1)).mean()),
    }


def batch(version: Path, photos: Path, device: str, scratch: Path) -> dict[str, float]:
    """What `benchmarks.batch` tells of one batch that a worker with this device answers."""
    environment = {**os.environ, "DATA_DIR": str(scratch / "var"), "TORCH_DEVICE": device}
    for words in (["migrate", "-v0"], ["importversion", str(version), "--activate"]):
        command = [sys.executable, "manage.py", *words]
        subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL)
    inside = [sys.executable, "-m", "benchmarks.batch", "--photos", str(photos), "--inside"]
    done = subprocess.run(inside, cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return dict(json.loads(done.stdout))


def served(version: Path, photos: Path, device: str, *, seconds: float) -> dict[int, dict[str, float]]:
    """`predictImage` at each concurrency, once every answer comes from that device."""
    photo = photos_below(photos, 1)[0]
    found = {}
    with site(version, photo, settings={"PREDICT_DEVICE": device}) as running:
        await_device(running, photo, device)
        for concurrency in CONCURRENCIES:
            warm = load(running.predict_url, photos, concurrency=concurrency, requests=2 * concurrency + 10)
            requests = max(40, round(warm["per_second"] * seconds))
            told = load(running.predict_url, photos, concurrency=concurrency, requests=requests)
            latency, answered = told["latency_ms"]["200"], told["statuses"]["200"] / told["requests"]
            found[concurrency] = {
                "per_second": round(told["per_second"] * answered, 1),
                "p50_ms": round(latency["p50"], 1),
                "p99_ms": round(latency["p99"], 1),
                "share_answered": round(answered, 3),
            }
        await_device(running, photo, device)
    return found


def await_device(running: Site, photo: Path, device: str, *, longest_seconds: float = 120.0) -> None:
    """Until twenty answers in a row, of all web processes therefore, come from that device. Raises RuntimeError."""
    host, data, end, in_a_row = (
        running.url.rpartition("/")[2],
        photo.read_bytes(),
        time.monotonic() + longest_seconds,
        0,
    )
    while in_a_row < 20:
        if time.monotonic() > end:
            raise RuntimeError(f"The site does not answer on {device}.")
        connection = http.client.HTTPConnection(host, timeout=60)
        connection.request("POST", "/api/predictImage", data, {"Content-Type": TYPES[photo.suffix.lower()]})
        said = json.loads(connection.getresponse().read())
        connection.close()
        in_a_row = in_a_row + 1 if said.get("device") == device else 0


def measure(version: Path, options: argparse.Namespace, device: str, scratch: Path) -> dict[str, Any]:
    spec, engine = on_device(version, device)
    files = photos_below(options.photos, 240)
    photos = [file.read_bytes() for file in files]
    pictures = np.stack([preprocess.pixels(photo, spec.preprocessing) for photo in photos[:GROUP]])
    seconds = options.seconds
    found: dict[str, Any] = {
        "precision": str(getattr(engine, "precision", "")),
        "from_processor": difference(engine, version, spec, pictures),
        "engine_per_second": alone(engine, pictures, seconds=seconds),
        "decode_per_second": round(bare(None, photos, spec.preprocessing, seconds=seconds), 1),
    }
    before = bare(engine, photos, spec.preprocessing, seconds=seconds)
    folder = folder_of(files, max(64, round(before * seconds)), scratch / "photos")
    bares, batches, shares = [], [], []
    for number in range(options.rounds):
        (scratch / str(number)).mkdir()
        batches.append(batch(version, folder, options.device, scratch / str(number))["per_second"])
        after = bare(engine, photos, spec.preprocessing, seconds=seconds)
        bares.append((before + after) / 2)
        shares.append(batches[-1] / bares[-1])
        before = after
    found |= {
        "bare_per_second": round(statistics.median(bares), 1),
        "batch_per_second": round(statistics.median(batches), 1),
        "batch_share_of_bare": [round(share, 3) for share in shares],
        "batch_photos": len(list(folder.iterdir())),
        "served": served(version, options.photos, device, seconds=seconds),
        "served_by_processor": served(version, options.photos, "cpu", seconds=seconds),
    }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_serve", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--photos", type=Path, required=True, help="a folder of real photos")
    parser.add_argument("--device", default="cuda:0", help="one GPU, or cpu to try it without")
    parser.add_argument("--networks", nargs="+", default=["starter", "resnet50", "resnet152"])
    parser.add_argument("--rounds", type=int, default=3, help="batches of each network")
    parser.add_argument("--seconds", type=float, default=5, help="of each measurement")
    parser.add_argument("--out", type=Path, help="write the figures to this JSON file as well")
    options = parser.parse_args()
    if options.device == "cuda":
        options.device = "cuda:0"
    if not exists(options.device):
        sys.exit(f"There is no {options.device} on this machine, so nothing was measured.")
    device = "cpu:0" if options.device == "cpu" else options.device  # as the site calls torch's processor
    machine = {
        "device": processor() if options.device == "cpu" else describe(torch.device(device)),
        "cores": os.cpu_count(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
    figures: dict[str, Any] = {"machine": machine, "networks": {}}
    with tempfile.TemporaryDirectory(prefix="bench-") as place:
        for name in options.networks:
            scratch = Path(place) / name
            scratch.mkdir()
            starter = ROOT / "classifier" / "starter"
            version = starter if name == "starter" else random_version(name, scratch / "version")
            figures["networks"][name] = measure(version, options, device, scratch)
            print(json.dumps({name: figures["networks"][name]}, indent=1), flush=True)
    print(json.dumps(machine), flush=True)
    if options.out:
        options.out.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
