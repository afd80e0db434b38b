"""The photos of a dataset as a run's version answered them: the most likely mislabelled first, or its mistakes.

The answers lie in a file, in their order (trainer.answers): a page of them costs one look into it and one query,
whatever the number of photos. What is offered for relabelling are photos of train and validation; those of test are
only shown, for who mends the labels that a network got wrong makes its next figures look better than they are.
"""

from typing import Any

import numpy as np

from classifier.labels import chance, display_name
from trainer import answers
from trainer.models import Dataset, Photo, TrainingRun
from trainer.models.carrying import bring_answers

LEARNT = ("train", "validation")


class Gone(Exception):
    """The answers of a run cannot be shown; the sentence says why."""


def runs(dataset: Dataset) -> list[TrainingRun]:
    """Those whose version answered these photos, the newest first."""
    made = dataset.runs.filter(version__isnull=False).order_by("-pk")
    return [run for run in made[:20] if run.has_answers]


def rows(run: TrainingRun) -> np.ndarray:
    """Raises Gone."""
    if not run.dataset.known_labels:
        raise Gone(f"Which labels {run.dataset} has cannot be read.")
    try:
        bring_answers(run)
        return answers.read(run.answers)
    except FileNotFoundError as error:
        raise Gone(f"What {run} answered is not here any more.") from error
    except answers.AnswersError as error:
        raise Gone(f"What {run} answered cannot be shown: {error}") from error


def places(dataset: Dataset, found: np.ndarray, chosen: dict[str, str], flagged: list[int] | None) -> np.ndarray:
    """Where the rows lie that a person wants to see; `flagged` are the only photos to be shown, where it is given."""
    numbers = {label: number for number, label in enumerate(dataset.labels)}
    wanted = {name: numbers.get(chosen[name], -1) for name in ("label", "answer") if name in chosen}
    parts = [chosen["part"]] if chosen.get("part") in answers.PARTS else LEARNT
    all_places = answers.chosen(found, parts, **wanted)
    return all_places if flagged is None else all_places[np.isin(found["photo"][all_places], flagged)]


def photos(dataset: Dataset, found: np.ndarray, shown: np.ndarray) -> list[Photo]:
    """The photos of these places in their order, each with what was answered."""
    by_key = dataset.photos.in_bulk([int(one) for one in found["photo"][shown]])
    listed = []
    for row in found[shown]:
        if (photo := by_key.get(int(row["photo"]))) is not None:
            photo.answered = told(dataset, row)  # type: ignore[attr-defined]
            listed.append(photo)
    return listed


def told(dataset: Dataset, row: np.void) -> dict[str, Any]:
    answer = dataset.labels[row["answer"]]
    return {
        "label": answer,
        "name": display_name(answer),
        "probability": chance(float(row["probability"]), 1),
        "own": chance(float(row["own"]), 1),
        "right": bool(row["answer"] == row["label"]),
    }
