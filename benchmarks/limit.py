"""The bare limit of this machine: decode and forward pass with nothing around them, no server, no queue, no framework.

Every way a server could spend the cores is tried, and the best one is the limit: one process with a session on all
cores, and one process per core with a session on one thread each.

    python -m benchmarks.limit --version FOLDER --photos FOLDER [--alone]

It prints one JSON object: photos per second of each way, and the latency of a single prediction in milliseconds; with
`--alone` the latter only.
"""

import argparse
import concurrent.futures
import json
import multiprocessing
import os
import statistics
import time
from multiprocessing.synchronize import Barrier
from pathlib import Path

from benchmarks.client import percentile, photos_below
from classifier import artifact
from classifier.engines.onnx import OnnxEngine
from classifier.preprocess import preprocess


def bare(folder: Path, photos: list[bytes], *, threads: int, seconds: float) -> list[float]:
    """Seconds of each of as many decode + forward passes as fit into `seconds`, in one thread of this process."""
    preprocessing = artifact.read(folder).preprocessing
    engine = OnnxEngine(folder / "model.onnx", threads=threads)
    for data in photos[:10]:
        engine(preprocess(data, preprocessing)[None])
    taken = []
    start = now = time.perf_counter()
    while now - start < seconds:
        engine(preprocess(photos[len(taken) % len(photos)], preprocessing)[None])
        taken.append(time.perf_counter() - now)
        now += taken[-1]
    return taken


def pooled(folder: Path, photos: list[bytes], *, seconds: float) -> float:
    """Photos per second of one process: a decoding thread per core in front of one session on all cores."""
    preprocessing = artifact.read(folder).preprocessing
    cores = os.cpu_count() or 1
    engine = OnnxEngine(folder / "model.onnx", threads=cores)
    engine(preprocess(photos[0], preprocessing)[None])
    done = 0
    start = time.perf_counter()
    with concurrent.futures.ThreadPoolExecutor(cores) as decoders:
        ahead = [
            decoders.submit(preprocess, photos[number % len(photos)], preprocessing) for number in range(2 * cores)
        ]
        while time.perf_counter() - start < seconds:
            engine(ahead.pop(0).result()[None])
            done += 1
            ahead.append(decoders.submit(preprocess, photos[done % len(photos)], preprocessing))
        rate = done / (time.perf_counter() - start)
    return rate


def one_of_many(
    folder: Path, photos: list[bytes], seconds: float, together: Barrier, rates: "multiprocessing.Queue[float]"
) -> None:
    together.wait()
    taken = bare(folder, photos, threads=1, seconds=seconds)
    rates.put(len(taken) / sum(taken))


def process_per_core(folder: Path, photos: list[bytes], *, seconds: float) -> float:
    """Photos per second of one process per core, each with a session on one thread."""
    context = multiprocessing.get_context("spawn")
    cores = os.cpu_count() or 1
    together, rates = context.Barrier(cores), context.Queue()
    processes = [
        context.Process(target=one_of_many, args=(folder, photos, seconds, together, rates)) for _ in range(cores)
    ]
    for process in processes:
        process.start()
    total = sum(rates.get() for _ in processes)
    for process in processes:
        process.join()
    return float(total)


def measure(folder: Path, photos: list[bytes], *, seconds: float, alone: bool) -> dict[str, float]:
    single = bare(folder, photos, threads=os.cpu_count() or 1, seconds=seconds)
    latency = {"p50_ms": 1000 * statistics.median(single), "p99_ms": 1000 * percentile(single, 0.99)}
    if alone:
        return latency
    ways = {
        "one thread, session on all cores": len(single) / sum(single),
        "decoding threads, session on all cores": pooled(folder, photos, seconds=seconds),
        "a process per core": process_per_core(folder, photos, seconds=seconds),
    }
    return {
        **ways,
        "per_second": max(ways.values()),
        **latency,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--version", type=Path, required=True, help="the folder of a model version")
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--different", type=int, default=240)
    parser.add_argument("--seconds", type=float, default=5, help="for each way")
    parser.add_argument("--alone", action="store_true", help="the latency of a single prediction only")
    options = parser.parse_args()
    photos = [file.read_bytes() for file in photos_below(options.photos, options.different)]
    print(json.dumps(measure(options.version, photos, seconds=options.seconds, alone=options.alone)))


if __name__ == "__main__":
    main()
