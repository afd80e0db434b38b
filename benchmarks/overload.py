"""Four times more photos than the site can answer, from a crowd that does not wait (open loop).

    python -m benchmarks.overload --photos FOLDER [--version FOLDER] [--requests 10000] [--times 4]

First the capacity is measured (closed loop, 16 connections), then `--requests` photos come at `--times` that rate.
Meanwhile /healthz, the log-in page and the front page are asked four times a second. A healthy site answers 200 or a
quick 503 with Retry-After, resets no connection, keeps its goodput, and is back to its normal speed within seconds.
"""

import argparse
import json
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from benchmarks.client import percentile, photos_below
from benchmarks.serve import load
from benchmarks.site import ROOT, Site, site, status_of

PROBED = ("/healthz", "/admin/login/", "/")


def probe(running: Site, stop: threading.Event, seen: dict[str, list[float]], failures: list[str]) -> None:
    """Ask every path of PROBED four times a second until `stop`: seconds go to `seen`, all but 200 to `failures`."""
    while not stop.wait(0.25):
        for path in PROBED:
            start = time.monotonic()
            try:
                status: object = status_of(running.url + path)
            except OSError as error:
                status = type(error).__name__
            seen[path].append(time.monotonic() - start)
            if status != 200:
                failures.append(f"{path}: {status}")


def storm(running: Site, photos: Path, *, rate: float, requests: int) -> dict[str, Any]:
    """The open-loop load from a process of its own."""
    command = [
        *(sys.executable, "-m", "benchmarks.client", "--url", running.predict_url, "--photos", photos),
        *("--rate", rate, "--requests", requests, "--concurrency", 400),
    ]
    done = subprocess.run([str(word) for word in command], cwd=ROOT, check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout))


def measure(version: Path, photos: Path, *, requests: int, times: float) -> dict[str, Any]:
    photo = photos_below(photos, 1)[0]
    with site(version, photo) as running:
        load(running.predict_url, photos, concurrency=16, requests=200)
        calm = load(running.predict_url, photos, concurrency=1, requests=200)
        capacity = load(running.predict_url, photos, concurrency=16, requests=1000)["per_second"]
        memory_before = running.memory_mib()
        seen: dict[str, list[float]] = {path: [] for path in PROBED}
        failures: list[str] = []
        stop = threading.Event()
        prober = threading.Thread(target=probe, args=(running, stop, seen, failures))
        prober.start()
        report = storm(running, photos, rate=times * capacity, requests=requests)
        stop.set()
        prober.join()
        ended = time.monotonic()
        memory_after = running.memory_mib()
        after = load(running.predict_url, photos, concurrency=1, requests=100)
        recovered_seconds = time.monotonic() - ended
    latency = report["latency_ms"]
    accepted, refused = latency.get("200", {"n": 0}), latency.get("503", {"n": 0})
    return {
        "capacity_per_second": capacity,
        "offered_per_second": times * capacity,
        "statuses": report["statuses"],
        "retry_after_seconds": report["retry_after"],
        "goodput_share": accepted["n"] / report["wall_seconds"] / capacity,
        "accepted_p99_ms": accepted.get("p99"),
        "unloaded_p99_ms": calm["latency_ms"]["200"]["p99"],
        "refused_p99_ms": refused.get("p99"),
        "pages_ms": {
            path: {
                "p50": 1000 * statistics.median(times_),
                "max": 1000 * max(times_),
                "p99": 1000 * percentile(times_, 0.99),
            }
            for path, times_ in seen.items()
        },
        "page_failures": failures,
        "p50_before_ms": calm["latency_ms"]["200"]["p50"],
        "p50_after_ms": after["latency_ms"]["200"]["p50"],
        "back_to_normal_within_seconds": recovered_seconds,
        "memory_growth": memory_after / memory_before - 1,
        "client_cpu_share": report["client_cpu_share"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--photos", type=Path, required=True, help="a folder of real photos")
    parser.add_argument("--version", type=Path, default=ROOT / "classifier" / "starter")
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--times", type=float, default=4, help="times the capacity")
    options = parser.parse_args()
    figures = measure(options.version, options.photos, requests=options.requests, times=options.times)
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
