"""Several versions together: mean or vote, labels in one order, sizes of their own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from classifier import artifact
from classifier.artifact import ArtifactError
from classifier.ensemble import Combine, Ensemble, NotTogether, votes
from classifier.predictor import Identity, Predictor
from classifier.preprocess import Preprocessing
from classifier.sandbox import Sandbox
from tests.artifacts import LABELS, make_artifact
from tests.pictures import encode, smooth

pytestmark = pytest.mark.alone

PHOTOS = [encode(smooth(seed)) for seed in range(5)]


def load(*folders: Path, combine: Combine = Combine.MEAN) -> Ensemble:
    return Ensemble.load([(folder, artifact.digest(folder)) for folder in folders], combine, threads=1)


def alone(folder: Path, photo: bytes) -> np.ndarray:
    """What the page and the API say of a photo."""
    predictor = Predictor(threads=1, places=1, max_wait_seconds=9)
    predictor.load(Identity("tiny", 1, artifact.digest(folder)), folder)
    return predictor.predict(photo).probabilities


def ask(ensemble: Ensemble, photos: list[bytes]):
    with Sandbox() as sandbox:
        return ensemble.answer([ensemble.decode(sandbox, photo) for photo in photos])


def test_one_version_says_of_many_photos_what_it_says_of_each(artifact_folder):
    found = ask(load(artifact_folder), PHOTOS)
    for photo, answer in zip(PHOTOS, found, strict=True):
        expected = alone(artifact_folder, photo)
        assert np.abs(answer.probabilities - expected).max() < 1e-5
        assert answer.index == expected.argmax()
        assert answer.sure == (expected.max() >= 0.3)


def test_together_they_say_the_mean_whatever_order_and_size_each_has(artifact_folder, tmp_path):
    turned = make_artifact(
        tmp_path / "turned",
        seed=7,
        labels=LABELS[::-1],
        preprocessing=Preprocessing(resize=28, crop=24, mean=(0.4, 0.4, 0.4), std=(0.2, 0.2, 0.2)),
    )
    ensemble = load(artifact_folder, turned)
    assert (ensemble.labels, len(ensemble.sizes)) == (LABELS, 2)
    for photo, answer in zip(PHOTOS, ask(ensemble, PHOTOS), strict=True):
        expected = (alone(artifact_folder, photo) + alone(turned, photo)[::-1]) / 2
        assert np.abs(answer.probabilities - expected).max() < 1e-5
        assert answer.index == expected.argmax()


@pytest.mark.parametrize(
    ("ballots", "winner"),
    [
        ([0, 1, 1], 1),  # most votes
        ([0, 1, 2], 0),  # all alone: the best decides
        ([0, 1, 1, 2, 2], 1),  # two labels with two votes: the best of their voters decides
        ([2, 1, 1, 2, 0], 2),
        ([3], 3),
    ],
)
def test_a_vote_goes_to_the_most_and_between_equals_to_the_best(ballots, winner):
    each = np.full((len(ballots), 1, 4), 0.1)
    for member, label in enumerate(ballots):
        each[member, 0, label] = 0.7
    assert votes(each).tolist() == [winner]


def test_a_vote_keeps_the_mean_probabilities_beside_its_label(artifact_folder, tmp_path):
    folders = [artifact_folder, *(make_artifact(tmp_path / f"{seed}", seed=seed) for seed in (1, 2))]
    by_vote, by_mean = (ask(load(*folders, combine=combine), PHOTOS) for combine in (Combine.VOTE, Combine.MEAN))
    for photo, vote, mean in zip(PHOTOS, by_vote, by_mean, strict=True):
        assert np.array_equal(vote.probabilities, mean.probabilities)
        ballots = [int(alone(folder, photo).argmax()) for folder in folders]
        assert vote.index == max(ballots, key=ballots.count)


def test_versions_with_other_labels_are_not_asked_together(artifact_folder, tmp_path):
    other = make_artifact(tmp_path / "other", labels=("beagle", "cat"))
    with pytest.raises(NotTogether, match="tiny and tiny do not know the same labels: 'border_collie'"):
        load(artifact_folder, other)


def test_a_folder_that_is_not_the_installed_one_is_refused(artifact_folder):
    with pytest.raises(ArtifactError, match="is not the one that was installed"):
        Ensemble.load([(artifact_folder, "0" * 64)], Combine.MEAN, threads=1)


def test_no_photos_no_answers(artifact_folder):
    assert load(artifact_folder).answer([]) == []
