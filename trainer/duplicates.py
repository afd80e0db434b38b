"""Photos that must not be divided between splits: the same picture twice, re-encoded, rescaled or mirrored.

Exact duplicates share the SHA-256 of their decoded pixels. Near duplicates lie within 6 bits of each other in a 64-bit
perceptual hash (the signs of the lowest frequencies of a 32x32 discrete cosine transform, as in pHash), and are
confirmed on the pixels themselves, for the hash alone pairs some strangers. One photo belongs to 100 % to one group.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from classifier.look import THUMBNAIL_SIDE, grey_thumbnail, pixel_digest

HASH_SIDE = 8
MAX_DISTANCE_BITS = 6
MIN_CORRELATION = 0.95  # of two confirmed thumbnails
MIN_CONTRAST = 1.0  # standard deviation of a thumbnail, 0..255: a plainer one has a hash without meaning


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
    return of_look(pixel_digest(picture), grey_thumbnail(picture))


def of_look(pixels: bytes, thumbnail: np.ndarray) -> Fingerprint:
    """Of what a sandbox saw: the digest of the pixels and the grey thumbnail."""
    return Fingerprint(pixels, perceptual_hash(thumbnail), perceptual_hash(thumbnail[:, ::-1]), thumbnail)


def groups(fingerprints: Sequence[Fingerprint]) -> list[int]:
    """For each photo the index of the first photo of its group: equal numbers may not be divided."""
    forest = Forest(len(fingerprints))
    for _ in _joined(fingerprints, forest):
        pass
    return [forest.root(index) for index in range(len(fingerprints))]


def near_pairs(fingerprints: Sequence[Fingerprint]) -> list[tuple[int, int]]:
    """The pairs of exact and confirmed near duplicates that hold the groups together, one less than a group has."""
    return list(_joined(fingerprints, Forest(len(fingerprints))))


class Forest:
    """Which indices belong together (union-find); the root of each tree is its smallest index."""

    def __init__(self, count: int) -> None:
        self.above = list(range(count))

    def root(self, index: int) -> int:
        while self.above[index] != index:
            self.above[index] = self.above[self.above[index]]
            index = self.above[index]
        return index

    def join(self, first: int, second: int) -> bool:
        """False where they were together before."""
        low, high = sorted((self.root(first), self.root(second)))
        self.above[high] = low
        return low != high


def _joined(fingerprints: Sequence[Fingerprint], forest: Forest) -> Iterator[tuple[int, int]]:
    """Joins exact duplicates, then of the distinct photos those whose hashes are close and whose pixels agree."""
    first_of: dict[bytes, int] = {}
    for index, one in enumerate(fingerprints):
        if first_of.setdefault(one.pixels, index) != index:
            forest.join(first_of[one.pixels], index)
            yield first_of[one.pixels], index
    distinct = np.array([index for index in first_of.values() if _telling(fingerprints[index])], np.int64)
    hashes = np.array([fingerprints[index].hash for index in distinct], np.uint64)
    mirrored = np.array([fingerprints[index].mirrored_hash for index in distinct], np.uint64)
    for place, index in enumerate(distinct):
        rest, rest_mirrored = hashes[place + 1 :], mirrored[place + 1 :]
        # The hash of a mirrored picture is not the mirrored hash to the bit: either may be the closer one.
        pairs = (rest ^ hashes[place], rest ^ mirrored[place], rest_mirrored ^ hashes[place])
        distance = np.minimum.reduce([np.bitwise_count(pair) for pair in pairs])
        for other in distinct[place + 1 :][distance <= MAX_DISTANCE_BITS]:
            first, second = int(index), int(other)
            if forest.root(first) != forest.root(second) and confirmed(fingerprints[first], fingerprints[second]):
                forest.join(first, second)
                yield first, second


def _telling(one: Fingerprint) -> bool:
    return float(one.thumbnail.std()) >= MIN_CONTRAST


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
