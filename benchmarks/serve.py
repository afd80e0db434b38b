"""Photos over HTTP beside the bare decode + forward limit of the same machine, in the same run.

    python -m benchmarks.serve --photos FOLDER [--version NAME=FOLDER …] [--out FILE]

In every round the limit is measured, then the site at concurrency 1, 4 and 16, then the limit again; a round's ratio is
the site's rate over the mean of the two limits around it, and the medians of the rounds are printed. What the site adds
to a lonely bare pass is a difference of two large times on a machine that changes its pace, so it is taken between
neighbours: short measurements of both in turns, each of the site's less the mean of the two around it. Without
`--version` it measures the starter, and resnet18 and resnet50 with random weights (speed does not ask what a network
knows). The load comes from `benchmarks.client`, whose own share of a core is printed beside.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.client import photos_below
from benchmarks.networks import random_version
from benchmarks.site import ROOT, Site, site

CONCURRENCIES = (1, 4, 16)
PAIRS = 4  # measurements of a lonely request in a round, each between two of the bare pass


def run_module(module: str, *arguments: object) -> dict[str, Any]:
    """The JSON object that `python -m module arguments` prints."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout))


def load(url: str, photos: Path, *, concurrency: int, requests: int, field: str | None = None) -> dict[str, Any]:
    """What `benchmarks.client` reports of a closed-loop load."""
    words = ["--url", url, "--photos", photos, "--concurrency", concurrency, "--requests", requests]
    return run_module("benchmarks.client", *words, *(["--field", field] if field else []))


def added_ms(running: Site, version: Path, photos: Path, *, seconds: float) -> list[tuple[float, float]]:
    """p50 of the bare pass and what a lonely request of the site takes on top of it, in milliseconds, PAIRS times."""
    words = ["--version", version, "--photos", photos, "--seconds", seconds / PAIRS, "--alone"]
    around, found = [run_module("benchmarks.limit", *words)["p50_ms"]], []
    requests = max(20, round(seconds / PAIRS * 1000 / around[0]))
    for _ in range(PAIRS):
        taken = load(running.predict_url, photos, concurrency=1, requests=requests)["latency_ms"]["200"]["p50"]
        around.append(run_module("benchmarks.limit", *words)["p50_ms"])
        bare = (around[-2] + around[-1]) / 2
        found.append((bare, taken - bare))
    return found


def measure_round(running: Site, version: Path, photos: Path, *, seconds: float) -> dict[str, Any]:
    """One round: limit, every concurrency, limit."""
    before = run_module("benchmarks.limit", "--version", version, "--photos", photos, "--seconds", seconds / 2)
    at = {}
    for concurrency in CONCURRENCIES:
        requests = max(60, round(before["per_second"] * seconds * (0.5 if concurrency == 1 else 1)))
        at[concurrency] = load(running.predict_url, photos, concurrency=concurrency, requests=requests)
    after = run_module("benchmarks.limit", "--version", version, "--photos", photos, "--seconds", seconds / 2)
    limit = (before["per_second"] + after["per_second"]) / 2
    bare, added = zip(*added_ms(running, version, photos, seconds=seconds), strict=True)
    return {
        "limit_per_second": limit,
        "bare_p50_ms": statistics.median(bare),
        "share_of_limit": {concurrency: at[concurrency]["per_second"] / limit for concurrency in at},
        "p50_ms": {concurrency: at[concurrency]["latency_ms"]["200"]["p50"] for concurrency in at},
        "p50_at_1_above_bare_ms": statistics.median(added),
        "p99_over_p50_at_16": at[16]["latency_ms"]["200"]["p99"] / at[16]["latency_ms"]["200"]["p50"],
        "client_cpu_share_at_16": at[16]["client_cpu_share"],
        "errors": sum(count for one in at.values() for status, count in one["statuses"].items() if status != "200"),
        "requests": sum(one["requests"] for one in at.values()),
        "memory_mib": running.memory_mib(),
    }


def median_of(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """Key by key the median over the rounds; sums for counts."""
    result: dict[str, Any] = {}
    for key, first in rounds[0].items():
        values = [one[key] for one in rounds]
        if isinstance(first, dict):
            result[key] = median_of(values)
        elif key in ("errors", "requests"):
            result[key] = sum(values)
        else:
            result[key] = round(statistics.median(values), 3)
    return result


def measure(version: Path, photos: Path, *, rounds: int, seconds: float) -> dict[str, Any]:
    photo = photos_below(photos, 1)[0]
    with site(version, photo) as running:
        load(running.predict_url, photos, concurrency=4, requests=100)  # warm
        result = median_of([measure_round(running, version, photos, seconds=seconds) for _ in range(rounds)])
        return {"first_answer_seconds": round(running.first_answer_seconds, 2), **result}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--photos", type=Path, required=True, help="a folder of real photos")
    parser.add_argument("--version", action="append", metavar="NAME=FOLDER", help="measure this model version")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=8, help="of load for each measurement")
    parser.add_argument("--out", type=Path, help="write the figures to this JSON file as well")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        if options.version:
            versions = {name: Path(folder) for name, folder in (item.split("=", 1) for item in options.version)}
        else:
            versions = {
                "starter": ROOT / "classifier" / "starter",
                **{name: random_version(name, Path(scratch) / name) for name in ("resnet18", "resnet50")},
            }
        machine = {"cores": os.cpu_count(), "machine": platform.machine(), "python": platform.python_version()}
        figures = {"machine": machine, "rounds": options.rounds, "versions": {}}
        for name, folder in versions.items():
            figures["versions"][name] = measure(folder, options.photos, rounds=options.rounds, seconds=options.seconds)
            print(json.dumps({name: figures["versions"][name]}, indent=1), flush=True)
    if options.out:
        options.out.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
