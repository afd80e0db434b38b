"""What people and programs who mean no good cost the others, in parts:

    python -m benchmarks.misbehaviour [clients] [bombs] --photos FOLDER [--version FOLDER]

`clients` hang up, drip and lie; `bombs` are files made to cost more than they should. Without a name it is both. Each
part runs on a site of its own; the figures are printed as JSON.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks.misbehaviour import bombs, clients
from benchmarks.site import ROOT


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.misbehaviour", description="What those who mean no good cost the others."
    )
    parser.add_argument("parts", nargs="*", help="clients, bombs; both where none is named")
    parser.add_argument("--photos", type=Path, required=True, help="a folder of real photos")
    parser.add_argument("--version", type=Path, default=ROOT / "classifier" / "starter")
    parser.add_argument("--aborts", type=int, default=500, help="in the body, and as many before the answer")
    parser.add_argument("--slow", type=int, default=100, help="connections that drip")
    parser.add_argument("--lies", type=int, default=50, help="of each kind")
    parser.add_argument("--at-once", type=int, default=10, help="bombs of a kind at the same moment")
    parser.add_argument("--seconds", type=float, default=60.0, help="of bombs, and of normal photos alone before them")
    options = parser.parse_args()
    if unknown := set(options.parts) - {"clients", "bombs"}:
        parser.error(f"There is no part {', '.join(sorted(unknown))}: choose clients, bombs.")
    parts = options.parts or ["clients", "bombs"]
    told: dict[str, Any] = {}
    if "clients" in parts:
        counts = {"aborts": options.aborts, "slow": options.slow, "lies": options.lies}
        told["clients"] = clients.measure(options.version, options.photos, **counts)
    if "bombs" in parts:
        told["bombs"] = bombs.measure(options.version, options.photos, at_once=options.at_once, seconds=options.seconds)
    print(json.dumps(told, indent=1))


if __name__ == "__main__":
    main()
