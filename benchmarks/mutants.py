"""Decode mutated pictures by the thousand: each gives a picture or a refusal, soon, and the decoder lives on.

    python -m benchmarks.mutants --count 20000

Every mutant is a function of the seed and its number, so one that fails can be made again; `--keep FOLDER` writes
those that do. It prints one JSON object and ends with 1 if a decoder died or took longer than the limit.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np

from classifier.guard import Refused
from classifier.preprocess import Preprocessing
from classifier.sandbox import Bounds, Sandbox
from tests.pictures import chunk, encode, exif, png, smooth, turned_jpeg, ycck

PREPROCESSING = Preprocessing(resize=64, crop=56)
TELLING = (b"\0", b"\xff", b"\x7f", b"\x80", b"\0\0", b"\xff\xff", b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"\xff" * 4)

log = logging.getLogger(__name__)


@cache
def originals() -> tuple[bytes, ...]:
    """Small good files of every kind that is accepted."""
    photo, other = smooth(1, (96, 72)), smooth(2, (96, 72))
    pixels = np.asarray(photo)
    frames = [smooth(seed, (96, 72)) for seed in range(3, 6)]
    return (
        encode(photo),
        encode(photo, progressive=True),
        encode(photo, quality=95, subsampling=0, restart_marker_blocks=2),
        encode(photo.convert("L"), optimize=True),
        encode(photo.convert("CMYK")),
        ycck(photo),
        turned_jpeg(photo, 6, comment=b"c" * 200),
        encode(photo, "MPO", save_all=True, append_images=[other]),
        encode(photo, "PNG"),
        encode(photo.convert("RGBA"), "PNG"),
        encode(photo.convert("LA"), "PNG"),
        encode(photo.quantize(64), "PNG", transparency=bytes(range(64))),
        encode(photo.convert("1"), "PNG"),
        png(pixels.astype(np.uint16) * 257, chunk(b"eXIf", exif(8)), chunk(b"tRNS", bytes(6))),
        png(
            pixels[:, :, 0].astype(np.uint16) * 257,
            chunk(b"tRNS", bytes(2)),
            chunk(b"zTXt", b"k\0\0" + zlib.compress(pixels)),
        ),
        encode(photo, "PNG", save_all=True, append_images=frames),
        encode(photo, "WEBP"),
        encode(photo.convert("RGBA"), "WEBP", lossless=True, exif=exif(5)),
        encode(photo, "WEBP", save_all=True, append_images=frames),
    )


def mutants(seed: int, count: int) -> Iterator[tuple[str, bytes]]:
    """(name, bytes): bit flips, a cut at every hundredth, splices, markers and lengths that lie, parts moved about."""
    ways = (flip, cut, splice, mark, overwrite, repeat, remove, insert)
    for number in range(count):
        random = np.random.default_rng((seed, number))
        way = ways[number % len(ways)]
        original = number // len(ways) % len(originals())
        data = way(bytearray(originals()[original]), random)
        if data.startswith(b"\x89PNG\r\n\x1a\n") and random.random() < 0.8:
            data = with_checksums(data)  # else nearly every mutant ends at the first wrong checksum
        yield f"{number:06}-{way.__name__}-{original:02}", bytes(data)


def flip(data: bytearray, random: np.random.Generator) -> bytearray:
    for position in random.integers(0, len(data), random.choice([1, 2, 5, 50])):
        data[position] ^= 1 << random.integers(8)
    return data


def cut(data: bytearray, random: np.random.Generator) -> bytearray:
    kept = data[: len(data) * random.integers(100) // 100]
    return kept + b"\xff\xd9" if random.random() < 0.3 else kept


def splice(data: bytearray, random: np.random.Generator) -> bytearray:
    other = originals()[random.integers(len(originals()))]
    return data[: random.integers(len(data))] + other[random.integers(len(other)) :]


def mark(data: bytearray, random: np.random.Generator) -> bytearray:
    """Another marker or chunk name, or another length behind one."""
    places = [at for at in range(2, len(data) - 4) if data[at] == 0xFF and data[at + 1] >= 0xC0]
    places += [at - 4 for at in range(8, len(data) - 4) if data[at : at + 4].isalpha()]
    at = places[random.integers(len(places))]
    offset = random.choice([1, 2, 3, 4, 7])
    data[at + offset : at + offset + 1] = random.bytes(1)
    return data


def overwrite(data: bytearray, random: np.random.Generator) -> bytearray:
    """A number that programs stumble over, mostly in the header."""
    value = TELLING[random.integers(len(TELLING))]
    at = random.integers(2, min(len(data), random.choice([64, 700, 10**6])))
    data[at : at + len(value)] = value
    return data


def repeat(data: bytearray, random: np.random.Generator) -> bytearray:
    start, length = random.integers(len(data)), random.integers(1, 400)
    return data[: start + length] + data[start : start + length] * random.choice([1, 10, 200]) + data[start + length :]


def remove(data: bytearray, random: np.random.Generator) -> bytearray:
    start = random.integers(len(data))
    del data[start : start + random.integers(1, 200)]
    return data


def insert(data: bytearray, random: np.random.Generator) -> bytearray:
    at = random.integers(len(data))
    data[at:at] = random.bytes(random.integers(1, 200))
    return data


def with_checksums(data: bytearray) -> bytearray:
    """A PNG whose chunks, as far as they can be followed, have true checksums."""
    position = 8
    while position + 12 <= len(data):
        stop = position + 8 + int.from_bytes(data[position : position + 4], "big")
        if stop + 4 > len(data):
            break
        data[stop : stop + 4] = zlib.crc32(data[position + 4 : stop]).to_bytes(4, "big")
        position = stop + 4
    return data


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder for the mutants that killed a decoder or took too long")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    codes: Counter[str] = Counter()
    failed: list[str] = []
    slowest, slowest_name = 0.0, ""
    begin = time.perf_counter()
    with Sandbox() as sandbox:
        for name, data in mutants(options.seed, options.count):
            deaths, started = sandbox.deaths, time.perf_counter()
            try:
                sandbox.square(data, PREPROCESSING)
                codes["ok"] += 1
            except Refused as refused:
                codes[refused.code] += 1
            seconds = time.perf_counter() - started
            if seconds > slowest:
                slowest, slowest_name = seconds, name
            if sandbox.deaths > deaths or seconds > Bounds().wall_seconds:
                failed.append(name)
                log.error("%s: %s after %.1f s", name, "died" if sandbox.deaths > deaths else "slow", seconds)
                if options.keep:
                    options.keep.mkdir(parents=True, exist_ok=True)
                    (options.keep / name).write_bytes(data)
        deaths = sandbox.deaths
    report = {
        "mutants": options.count,
        "seed": options.seed,
        "codes": dict(codes.most_common()),
        "decoder_deaths": deaths,
        "failed": failed,
        "slowest_seconds": round(slowest, 3),
        "slowest": slowest_name,
        "seconds": round(time.perf_counter() - begin, 1),
    }
    print(json.dumps(report, indent=2))
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
