"""What it costs to turn the bytes of a photo into a tensor, step by step.

    python -m benchmarks.decode --photos FOLDER

The photos are measured as they are, enlarged to the 0.2 megapixels of a picture on the web, and to the 12 megapixels
of a phone, decoded smaller and decoded whole. One JSON object: medians in milliseconds of each step and of all of them,
and for the large ones how far the pixels are, in grey levels, from those of the picture decoded whole.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from math import sqrt
from pathlib import Path

import numpy as np
from PIL import Image

from classifier import guard
from classifier.preprocess import Preprocessing, decode, normalize, preprocess, square
from tests.pictures import encode

PREPROCESSING = Preprocessing()


def milliseconds(work: Callable[[bytes], object], photos: list[bytes], rounds: int) -> float:
    """The median over the photos of the best of `rounds` runs: what it costs when nobody disturbs."""
    best = []
    for data in photos:
        taken = []
        for _ in range(rounds):
            started = time.perf_counter()
            work(data)
            taken.append(time.perf_counter() - started)
        best.append(min(taken))
    return round(statistics.median(best) * 1000, 3)


def steps(photos: list[bytes], rounds: int, *, shorter_side: int | None) -> dict[str, object]:
    pictures = {data: decode(data, shorter_side=shorter_side) for data in photos}
    squares = {data: square(picture, PREPROCESSING) for data, picture in pictures.items()}
    whole = milliseconds(
        lambda data: normalize(square(decode(data, shorter_side=shorter_side), PREPROCESSING), PREPROCESSING),
        photos,
        rounds,
    )
    return {
        "photos": len(photos),
        "median_kilobytes": round(statistics.median(map(len, photos)) / 1000, 1),
        "check_ms": milliseconds(guard.check, photos, rounds),
        "decode_ms": milliseconds(lambda data: decode(data, shorter_side=shorter_side), photos, rounds),
        "square_ms": milliseconds(lambda data: square(pictures[data], PREPROCESSING), photos, rounds),
        "normalize_ms": milliseconds(lambda data: normalize(squares[data], PREPROCESSING), photos, rounds),
        "preprocess_ms": whole,
    }


def enlarged(data: bytes, megapixels: float) -> bytes:
    picture = decode(data)
    factor = sqrt(megapixels * 1e6 / (picture.width * picture.height))
    size = (round(picture.width * factor), round(picture.height * factor))
    return encode(picture.resize(size, Image.Resampling.BICUBIC), quality=88)


def draft_error(photos: list[bytes]) -> dict[str, float]:
    """Grey levels between a large photo decoded smaller and the same decoded whole."""
    differences = np.stack(
        [
            square(decode(data, shorter_side=PREPROCESSING.resize), PREPROCESSING).astype(int)
            - square(decode(data), PREPROCESSING)
            for data in photos
        ]
    )
    return {"mean": round(float(np.abs(differences).mean()), 3), "largest": int(np.abs(differences).max())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True, help="folder with JPEG photos, searched to any depth")
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    files = sorted(options.photos.rglob("*.jpg"))
    if not files:
        parser.error(f"no .jpg below {options.photos}")
    photos = [file.read_bytes() for file in files[:: max(1, len(files) // options.count)][: options.count]]
    few = photos[: max(1, len(photos) // 10)]
    web, phone = [enlarged(data, 0.2) for data in photos], [enlarged(data, 11.9) for data in few]
    preprocess(photos[0], PREPROCESSING)  # the first call loads Pillow's plugins
    side = PREPROCESSING.resize
    report = {
        "as_they_are": steps(photos, options.rounds, shorter_side=side),
        "web_0.2_megapixels": steps(web, options.rounds, shorter_side=side),
        "phone_12_megapixels": steps(phone, options.rounds, shorter_side=side),
        "phone_12_megapixels_decoded_whole": steps(phone, options.rounds, shorter_side=None),
        "grey_levels_between_the_last_two": draft_error(phone),
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
