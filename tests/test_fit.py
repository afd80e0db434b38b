"""What a fit adds to the loop: validation, patience, weights of the labels."""

import dataclasses
import json
import math

import pytest
import torch

from classifier.networks import catalogue
from classifier.preprocess import Preprocessing
from tests.photos import make_records
from trainer import dataset
from trainer import fit as fitting
from trainer.fit import Fit
from trainer.recipe import Recipe

pytestmark = pytest.mark.alone

RECIPE = Recipe(
    architecture="squeezenet1_1", image_size=32, photo_size=32, epochs=6, batch_size=16, learning_rate=0,
    head_learning_rate=0, average=0,
)  # fmt: skip


@pytest.fixture
def parts():
    yield dataset.prepare(make_records(("chow", "pug", "samoyed"), 10), seed=1)
    torch.use_deterministic_algorithms(False)


def fit(parts, recipe: Recipe, work) -> Fit:
    torch.manual_seed(0)
    net = catalogue.create(recipe.as_architecture(), label_count=3)
    return Fit(net, parts, recipe, Preprocessing(resize=32, crop=32), work=work)


def test_it_ends_when_validation_has_not_improved_for_as_long_as_its_patience(parts, tmp_path):
    recipe = dataclasses.replace(RECIPE, patience=2)  # rates of 0 leave the loss where it is
    assert [one.epoch.number for one in fit(parts, recipe, tmp_path).epochs()] == [1, 2, 3]
    assert list(fit(parts, recipe, tmp_path).epochs()) == []  # nor does it go on when it is resumed


def test_without_patience_it_makes_all_its_epochs(parts, tmp_path):
    assert len(list(fit(parts, dataclasses.replace(RECIPE, epochs=3), tmp_path).epochs())) == 3


def test_labels_weigh_by_their_photos_where_the_recipe_says_so(parts, tmp_path):
    assert fit(parts, RECIPE, tmp_path).training.label_weights is None
    weighted = fit(parts, dataclasses.replace(RECIPE, balance="weights"), tmp_path / "b").training
    assert weighted.label_weights.tolist() == [1, 1, 1]  # 8 photos of each


@pytest.mark.parametrize("faulty", [{1}, {2}, {1, 2, 3}])
def test_an_epoch_whose_loss_is_not_finite_is_told_as_null_and_never_the_best(parts, tmp_path, monkeypatch, faulty):
    losses = iter([math.nan if number in faulty else 1.0 / number for number in (1, 2, 3)])
    monkeypatch.setattr(fitting, "loss_of", lambda logits, answers: next(losses))
    one = fit(parts, dataclasses.replace(RECIPE, epochs=3), tmp_path)
    list(one.epochs())
    told = [figures["validation_loss"] for figures in one.history]
    assert told == [None if number in faulty else 1.0 / number for number in (1, 2, 3)]
    json.dumps(one.history, allow_nan=False)
    assert one.best.get("epoch") == (None if len(faulty) == 3 else 3)


def test_a_best_epoch_that_an_earlier_release_took_for_it_without_a_loss_gives_way(parts, tmp_path):
    one = fit(parts, dataclasses.replace(RECIPE, epochs=1), tmp_path)
    one.best = {"epoch": 0, "loss": math.nan, "weights": {}}
    list(one.epochs())
    assert one.best["epoch"] == 1
