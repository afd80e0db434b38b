"""How much slower a lonely request is answered while a training uses every core of the same machine.

    python -m benchmarks.serve_while_training --photos FOLDER [--rounds 7]

The site with the starter model, and a training as the worker starts it (lowest priority, all cores) of ResNet9 at 32
pixels in float32. In every round the training is frozen and p50 measured at concurrency 1, then it goes on and p50 is
measured again; the medians of the rounds and of their ratios are printed.
"""

import argparse
import hashlib
import json
import os
import signal
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path

from benchmarks.client import photos_below
from benchmarks.serve import load
from benchmarks.site import ROOT, Site, site
from benchmarks.train import CASES, write_photos
from breedsite.tether import die_with
from trainer import manifest, presets
from trainer.child import Child

START_SECONDS = 300.0


def write_job(folder: Path) -> Path:
    """A training that lasts longer than the measurement, on generated photos."""
    case = CASES["resnet9-32"]
    place = folder / "photos"
    place.mkdir()
    entries = []
    for number, file in enumerate(sorted(write_photos(place, case).rglob("*.jpg"))):
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        part = "validation" if number % 100 == 0 else "train"
        entries.append(manifest.Entry(str(file), digest, file.parent.name, part, file.name))
    manifest.write(folder / "manifest.jsonl", entries)
    recipe = presets.PRESETS[case.preset].changed(epochs=10_000, precision="float32")
    job = {
        "name": "busy",
        "recipe": recipe.as_dict(),
        "labels": sorted({entry.label for entry in entries}),
        "manifest": str(folder / "manifest.jsonl"),
        "fingerprint": "0" * 64,
        "card": {},
        "command": "benchmarks.serve_while_training",
        "facts": {},
        "work": str(folder / "work"),
        "earlier": [],
        "out": str(folder / "artifact"),
    }
    file = folder / "job.json"
    file.write_text(json.dumps(job))
    return file


def await_step(child: Child) -> None:
    """Return when the training is in its loop."""
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        event = child.next_event(1.0)
        if event and event["event"] == "step":
            return
    raise SystemExit(f"The training made no step within {START_SECONDS:.0f} s.")


def processor_seconds(process: int) -> float:
    """What a process has used of the processors so far."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(running: Site, child: Child, photos: Path, *, rounds: int, requests: int) -> dict[str, list[float]]:
    """p50 in ms without and with the training, and the processors that this took meanwhile, of each round."""
    found: dict[str, list[float]] = {"idle": [], "training": [], "processors": []}
    for _ in range(rounds):
        for state, number in (("idle", signal.SIGSTOP), ("training", signal.SIGCONT)):
            child.process.send_signal(number)
            time.sleep(0.5)
            began, used = time.monotonic(), processor_seconds(child.process.pid)
            report = load(running.predict_url, photos, concurrency=1, requests=requests)
            assert report["statuses"] == {"200": requests}, report["statuses"]
            found[state].append(report["latency_ms"]["200"]["p50"])
        found["processors"].append((processor_seconds(child.process.pid) - used) / (time.monotonic() - began))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.serve_while_training", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--photos", type=Path, required=True, help="a folder of real photos to ask about")
    parser.add_argument("--version", type=Path, default=ROOT / "classifier" / "starter")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--requests", type=int, default=300, help="in each state of each round")
    arguments = parser.parse_args()
    photo = photos_below(arguments.photos, 1)[0]
    before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch, site(arguments.version.resolve(), photo) as running:
        child = Child(write_job(Path(scratch)), Path(scratch) / "log.txt", tether=partial(die_with, os.getpid()))
        try:
            await_step(child)
            found = measure(running, child, arguments.photos, rounds=arguments.rounds, requests=arguments.requests)
        finally:
            child.kill()
    ratios = [busy / idle for idle, busy in zip(found["idle"], found["training"], strict=True)]
    took = statistics.median(found["processors"])
    print(f"p50 at concurrency 1: {statistics.median(found['idle']):.1f} ms with the training frozen,")
    print(f"{statistics.median(found['training']):.1f} ms beside it: {statistics.median(ratios):.2f} times as long")
    print(f"(rounds {min(ratios):.2f} to {max(ratios):.2f}). The training took {took:.2f} processors.")
    print(f"{arguments.rounds} rounds of 2 x {arguments.requests} requests; load before {before:.1f}")


if __name__ == "__main__":
    main()
