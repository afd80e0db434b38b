"""Photos that must not be divided between splits: the same picture twice, re-encoded, rescaled or mirrored.

Exact duplicates share the SHA-256 of their decoded pixels. Near duplicates lie within 6 bits of each other in a 64-bit
perceptual hash (the signs of the lowest frequencies of a 32x32 discrete cosine transform, as in pHash), and are
confirmed on the pixels themselves, for the hash alone pairs some strangers. One photo belongs to 100 % to one group.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

HASH_SIDE = 8
THUMBNAIL_SIDE = 32
MAX_DISTANCE_BITS = 6
MIN_CORRELATION = 0.95  # of two confirmed thumbnails


@dataclass(frozen=True)
class Fingerprint:
    """What is kept of a photo to tell its duplicates."""

    pixels: bytes  # SHA-256 of width, height and decoded pixels
    hash: int  # 64 bits
    mirrored_hash: int  # of the picture seen in a mirror
    thumbnail: np.ndarray  # uint8 (32, 32), grey


def _cosines() -> np.ndarray:
    frequency, position = np.mgrid[:HASH_SIDE, :THUMBNAIL_SIDE]
    return np.cos(np.pi * frequency * (2 * position + 1) / (2 * THUMBNAIL_SIDE))  # (8, 32)


COSINES = _cosines()


def perceptual_hash(thumbnail: np.ndarray) -> int:
    """64 bits of a grey thumbnail (32, 32): which of its 8x8 lowest frequencies lie above their median."""
    frequencies = COSINES @ thumbnail.astype(np.float64) @ COSINES.T  # (8, 8)
    frequencies[0, 0] = 0  # the brightness says nothing about the picture
    bits = (frequencies > np.median(frequencies)).ravel()
    return int.from_bytes(np.packbits(bits).tobytes())


def fingerprint(picture: Image.Image) -> Fingerprint:
    """Of a decoded RGB picture."""
    size = f"{picture.width}x{picture.height}:".encode()
    thumbnail = np.asarray(picture.convert("L").resize((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.BOX))
    return Fingerprint(
        pixels=hashlib.sha256(size + picture.tobytes()).digest(),
        hash=perceptual_hash(thumbnail),
        mirrored_hash=perceptual_hash(thumbnail[:, ::-1]),
        thumbnail=thumbnail,
    )


def groups(fingerprints: Sequence[Fingerprint]) -> list[int]:
    """For each photo the index of the first photo of its group: equal numbers may not be divided."""
    leaders = list(range(len(fingerprints)))

    def leader(index: int) -> int:
        while leaders[index] != index:
            leaders[index] = leaders[leaders[index]]
            index = leaders[index]
        return index

    for first, second in near_pairs(fingerprints):
        low, high = sorted((leader(first), leader(second)))
        leaders[high] = low
    return [leader(index) for index in range(len(fingerprints))]


def near_pairs(fingerprints: Sequence[Fingerprint]) -> list[tuple[int, int]]:
    """The pairs (first < second) of exact and confirmed near duplicates."""
    hashes = np.array([one.hash for one in fingerprints], np.uint64)
    mirrored = np.array([one.mirrored_hash for one in fingerprints], np.uint64)
    pairs = []
    for first in range(len(fingerprints) - 1):
        rest = hashes[first + 1 :]
        straight = np.bitwise_count(rest ^ hashes[first])
        reflected = np.bitwise_count(rest ^ mirrored[first])
        for offset in np.flatnonzero(np.minimum(straight, reflected) <= MAX_DISTANCE_BITS):
            second = first + 1 + int(offset)
            if confirmed(fingerprints[first], fingerprints[second]):
                pairs.append((first, second))
    return pairs


def confirmed(first: Fingerprint, second: Fingerprint) -> bool:
    """Whether the pixels of two photos with close hashes agree too, straight or mirrored."""
    if first.pixels == second.pixels:
        return True
    one = _standardized(first.thumbnail)
    return any(
        float((one * _standardized(other)).mean()) >= MIN_CORRELATION
        for other in (second.thumbnail, second.thumbnail[:, ::-1])
    )


def _standardized(thumbnail: np.ndarray) -> np.ndarray:
    centred = thumbnail.astype(np.float64) - thumbnail.mean()
    return centred / max(centred.std(), 1e-6)
