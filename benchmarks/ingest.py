"""How many photos a second an import takes in, and how much memory it needs, whatever the number of photos.

    python -m benchmarks.ingest --counts 5000 50000

Each count is a zip of generated JPEG photos of 96 pixels in 50 class folders, imported as `manage.py importdataset`
does it, in a process of its own on a database of its own. The memory is the largest sum of the private memory of that
process and its sandboxes (Private_* of /proc/PID/smaps_rollup, files that are mapped included), looked at twenty times
a second.
"""

import argparse
import io
import os
import re
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
LABELS = 50
SIDE = 96  # pixels


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ingest", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--counts", type=int, nargs="+", default=[5000], help="photos (default: 5000)")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="where there is room")
    arguments = parser.parse_args()
    print("| photos | zip | seconds | photos/s | peak memory |")
    print("|---:|---:|---:|---:|---:|")
    for count in arguments.counts:
        with tempfile.TemporaryDirectory(dir=arguments.folder) as place:
            file = write_photos(Path(place) / "photos.zip", count)
            seconds, peak_bytes = measure(file, Path(place) / "var")
            size = file.stat().st_size / 1024**2
            print(
                f"| {count} | {size:.0f} MB | {seconds:.1f} | {count / seconds:.0f} | {peak_bytes / 1024**2:.0f} MB |",
                flush=True,
            )


def write_photos(file: Path, count: int) -> Path:
    """Smooth pictures with a little noise, each of its own."""
    draws = np.random.default_rng(1)
    with zipfile.ZipFile(file, "w") as out:
        for number in range(count):
            coarse = Image.fromarray(draws.integers(0, 256, (12, 12, 3), np.uint8))
            buffer = io.BytesIO()
            coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
            out.writestr(f"label-{number % LABELS:02}/{number:06}.jpg", buffer.getvalue())
    return file


def measure(file: Path, data: Path) -> tuple[float, int]:
    """Seconds of the import, and the bytes of its largest moment."""
    environment = os.environ | {"DATA_DIR": str(data)}
    manage = [sys.executable, "manage.py"]
    subprocess.run([*manage, "migrate", "-v0"], cwd=ROOT, env=environment, check=True)
    began = time.monotonic()
    process = subprocess.Popen(
        [*manage, "importdataset", str(file), "--name", "benchmark"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.DEVNULL,
    )
    peak = 0
    while process.poll() is None:
        peak = max(peak, sum(private_bytes(pid) for pid in family(process.pid)))
        time.sleep(0.05)
    if process.returncode != 0:
        sys.exit("The import failed: its sentence stands above.")
    return time.monotonic() - began, peak


def family(pid: int) -> list[int]:
    """A process and its children."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        threads = [folder.name for folder in Path(f"/proc/{pid}/task").iterdir()]
        children += [
            child for thread in threads for child in Path(f"/proc/{pid}/task/{thread}/children").read_text().split()
        ]
    except OSError:
        return [pid]
    return [pid, *{int(child) for child in children}]


def private_bytes(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:  # it has ended
        return 0
    return 1024 * sum(int(kilobytes) for kilobytes in re.findall(r"^Private_\w+:\s+(\d+) kB", text, re.MULTILINE))


if __name__ == "__main__":
    main()
