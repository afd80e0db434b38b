"""Other ways to serve the same photos on the same machine in the same run: LitServe, and a view that loads the network
for every request, beside the site.

    python -m benchmarks.peers --photos FOLDER [--version FOLDER] [--environment var/peers]

LitServe gets an environment of its own (`requirements-peers.txt`), made at the first run. Every round measures all of
them one after another; the medians of the rounds and their ratios are printed.
"""

import argparse
import json
import statistics
import subprocess
import sys
import venv
from pathlib import Path

from benchmarks.client import photos_below
from benchmarks.serve import load
from benchmarks.site import ROOT, Site, free_port, serving, site

CONCURRENCIES = (1, 16)


def peer_python(environment: Path, requirements: Path = ROOT / "benchmarks" / "requirements-peers.txt") -> Path:
    """The interpreter of the peers' own environment, made where it is missing."""
    python = environment / "bin" / "python"
    stamp = environment / "installed"
    if not stamp.exists() or stamp.read_text() != requirements.read_text():
        venv.create(environment, with_pip=True, clear=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", "-r", str(requirements)], check=True)
        stamp.write_text(requirements.read_text())
    return python


def rates(running: Site, path: str, photos: Path, *, requests: dict[int, int]) -> dict[str, float]:
    """Photos per second at each concurrency and the p50 at one, in milliseconds."""
    found: dict[str, float] = {}
    for concurrency in CONCURRENCIES:
        report = load(
            running.url + path, photos, concurrency=concurrency, requests=requests[concurrency], field="image"
        )
        assert report["statuses"] == {"200": requests[concurrency]}, report["statuses"]
        found[f"per second at {concurrency}"] = report["per_second"]
        found[f"p50 ms at {concurrency}"] = report["latency_ms"]["200"]["p50"]
    found["memory MiB (first process)"] = running.memory_mib()
    found["first answer seconds"] = running.first_answer_seconds
    return found


def one_round(version: Path, photos: Path, peers: Path) -> dict[str, dict[str, float]]:
    photo = photos_below(photos, 1)[0]
    many, few = {1: 200, 16: 800}, {1: 20, 16: 64}
    found = {}
    with site(version, photo) as running:
        found["breedsite"] = rates(running, "/api/predictImage", photos, requests=many)
    for name, python, module, path, requests in (
        ("LitServe", peers, "benchmarks.peer_litserve", "/predict", many),
        ("load per request", Path(sys.executable), "benchmarks.peer_per_request", "/", few),
    ):
        port = free_port()
        command = [str(python), "-m", module, str(version), str(port)]
        with serving(command, path=path, photo=photo, environment={}, port=port, field="image") as running:
            found[name] = rates(running, path, photos, requests=requests)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--photos", type=Path, required=True, help="a folder of real photos")
    parser.add_argument("--version", type=Path, default=ROOT / "classifier" / "starter")
    parser.add_argument("--environment", type=Path, default=ROOT / "var" / "peers")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    peers = peer_python(options.environment.resolve())
    rounds = [one_round(options.version.resolve(), options.photos, peers) for _ in range(options.rounds)]
    medians = {
        name: {key: statistics.median(one[name][key] for one in rounds) for key in rounds[0][name]}
        for name in rounds[0]
    }
    for name, figures in medians.items():
        figures["times slower at 16 than breedsite"] = (
            medians["breedsite"]["per second at 16"] / figures["per second at 16"]
        )
        print(json.dumps({name: {key: round(value, 2) for key, value in figures.items()}}, indent=1))


if __name__ == "__main__":
    main()
