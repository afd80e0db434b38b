"""Which photos train, which choose the epoch, which are sealed for the one evaluation at the end.

Stratified by label, whole groups of duplicates together, and a pure function of the photos' content and the seed:
neither the order nor the names of the files matter, and a photo added to one label moves no photo of another.
"""

import hashlib
from collections import defaultdict
from collections.abc import Sequence

PARTS = ("train", "validation", "test")
MIN_PHOTOS = 3  # of a label: one for each part


class SplitError(ValueError):
    """Photos that cannot be divided; the sentence names the label."""


def split(
    contents: Sequence[bytes],
    labels: Sequence[str],
    *,
    groups: Sequence[int],
    seed: int,
    fractions: tuple[float, float, float] = (0.8, 0.1, 0.1),
    supplied: Sequence[str | None] | None = None,
) -> list[str]:
    """The part ("train", "validation" or "test") of every photo.

    `contents` are digests of the pixels, `groups` equal numbers for photos that must stay together. Of each label the
    test and validation parts take whole groups, in the order of a hash of seed and content, until they hold their
    fraction, at least one photo; the rest trains. A group whose photos disagree on their label counts for the label
    of its smallest digest. Raises SplitError for a label too small to be divided.

    `supplied` are the parts that the source itself names: they are kept. Parts that it does not name are taken out of
    its training photos, by `shares`; photos whose duplicates lie in another part stay where they are.
    """
    if abs(sum(fractions) - 1) > 1e-9 or min(fractions) <= 0:
        raise SplitError(f"The fractions {fractions} of train, validation and test must be positive and sum to 1.")
    parts = [part or "train" for part in supplied or ["train"] * len(labels)]
    missing = [part for part in ("test", "validation") if part not in parts]
    fraction = shares(fractions, missing)
    members: dict[int, list[int]] = defaultdict(list)
    for index, group in enumerate(groups):
        members[group].append(index)
    strata: dict[str, list[tuple[bytes, list[int]]]] = defaultdict(list)
    for indices in members.values():
        if all(parts[index] == "train" for index in indices):
            first = min(indices, key=lambda index: (contents[index], labels[index]))
            key = hashlib.sha256(f"{seed}:".encode() + contents[first]).digest()
            strata[labels[first]].append((key, indices))
    for label in sorted(set(labels)):
        stratum = sorted(strata[label])
        needed = 1 + len(missing)
        if len(stratum) < needed:
            raise SplitError(
                f"The label {label!r} has {len(stratum)} distinct photos{' to train' if needed < MIN_PHOTOS else ''}: "
                f"at least {needed} are needed, one each for {' and '.join(['training', *missing[::-1]])}."
            )
        photos = sum(len(indices) for _, indices in stratum)
        queue = iter(stratum)
        groups_left = len(stratum)
        for place, part in enumerate(missing):
            taken = 0
            while taken < max(round(fraction[part] * photos), 1) and groups_left > len(missing) - place:
                _, indices = next(queue)
                groups_left -= 1
                taken += len(indices)
                for index in indices:
                    parts[index] = part
    return parts


def shares(fractions: tuple[float, float, float], missing: Sequence[str]) -> dict[str, float]:
    """What each missing part takes of the photos that are left to divide. The parts that a source supplies take no
    share: 45/60, 5/60 and 10/60 beside a supplied test part are 45 to 5 of the others."""
    wanted = dict(zip(PARTS, fractions, strict=True))
    left = 1 - sum(wanted[part] for part in PARTS[1:] if part not in missing)
    return {part: wanted[part] / left for part in missing}


def fingerprint(contents: Sequence[bytes], labels: Sequence[str], parts: Sequence[str]) -> str:
    """SHA-256 of what was trained on: every photo's pixels with its label and part, whatever the order of the files."""
    rows = sorted(
        f"{content.hex()}\t{label}\t{part}\n" for content, label, part in zip(contents, labels, parts, strict=True)
    )
    return hashlib.sha256("".join(rows).encode()).hexdigest()
