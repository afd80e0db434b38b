"""What a network answered to every photo of its dataset: a file of one small row a photo, and whose label is suspect.

Rows lie in the order in which a person should look at them: first the photos of train and validation, those whose label
the network believes least at the beginning; then the test photos, which choose nothing and are only shown, likewise.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from trainer.split import PARTS

ROW = np.dtype(
    [
        ("photo", "<i8"),  # primary key
        ("part", "u1"),  # index in PARTS
        ("label", "<i4"),  # index of the label that the photo has
        ("answer", "<i4"),  # index of the most probable one
        ("probability", "<f4"),  # of the answer
        ("own", "<f4"),  # of the photo's label
        ("margin", "<f4"),  # -1..1, see `rows`
    ]
)
TEST = PARTS.index("test")


class AnswersError(ValueError):
    """A file of answers that cannot be read; the sentence says why."""


def rows(probabilities: np.ndarray, labels: np.ndarray, photos: Sequence[int], *, part: str) -> np.ndarray:
    """One row a photo, from probabilities (N, K) and the indices of the photos' labels (N,).

    The margin is the probability of the photo's label less that of the best other one. The smaller, the likelier the
    label is wrong: the normalized margin of confident learning (Northcutt et al. 2021, doi:10.1613/jair.1.12125), which
    wants answers to photos that the network has not trained on. Those of validation are; a training photo may have been
    learnt by heart with its wrong label, so its margin is an upper bound: those that still stand out are worth a look.
    """
    found = np.zeros(len(labels), ROW)
    own = probabilities[np.arange(len(labels)), labels]
    others = probabilities.copy()
    others[np.arange(len(labels)), labels] = -1
    found["photo"], found["part"], found["label"] = photos, PARTS.index(part), labels
    found["answer"], found["probability"] = probabilities.argmax(axis=1), probabilities.max(axis=1)
    found["own"], found["margin"] = own, own - others.max(axis=1)
    return found


def in_order(parts: Sequence[np.ndarray]) -> np.ndarray:
    """The rows of all parts as a person should look at them."""
    every = np.concatenate(parts)
    return every[np.lexsort((every["margin"], every["part"] == TEST))]


def write(file: Path, found: np.ndarray) -> None:
    """The whole file or none."""
    place = file.with_suffix(".tmp")
    with place.open("wb") as out:
        np.save(out, found, allow_pickle=False)
    place.replace(file)


def read(file: Path) -> np.ndarray:
    """The rows, not yet in memory. Raises AnswersError, or FileNotFoundError where nobody wrote them."""
    try:
        found = np.load(file, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise AnswersError(f"{file.name} cannot be read: {error}") from error
    if not isinstance(found, np.ndarray) or found.dtype != ROW or found.ndim != 1:
        raise AnswersError(f"{file.name} holds no answers.")
    return found


def chosen(
    found: np.ndarray, parts: Sequence[str] = PARTS, *, label: int | None = None, answer: int | None = None
) -> np.ndarray:
    """The places (M,) of the rows of these parts, with that label and that answer, where they are given."""
    wanted = np.isin(found["part"], [PARTS.index(part) for part in parts])
    if label is not None:
        wanted &= found["label"] == label
    if answer is not None:
        wanted &= found["answer"] == answer
    return np.flatnonzero(wanted)
