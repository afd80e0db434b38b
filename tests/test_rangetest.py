"""The learning-rate range test: a sweep of a network whose limit is known, and what is read from a curve."""

import json
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from classifier.preprocess import Preprocessing
from trainer.data import Photos
from trainer.loop import Training, train
from trainer.rangetest import HIGHEST, LOWEST, STEPS, Point, findings, prepared, read, sweep
from trainer.rates import changes
from trainer.recipe import Recipe, RecipeError

pytestmark = pytest.mark.alone

PLAIN = Preprocessing(resize=8, crop=8, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
RECIPE = Recipe(
    weights="random", batch_norm="trained", image_size=8, photo_size=8, crop_scale=1, crop_ratio=1, flip=0, colour=0,
    rotation_degrees=0, batch_size=64, optimizer="sgd", momentum=0, weight_decay=0, clip_norm=0, label_smoothing=0.5,
    learning_rate=0.1, head_learning_rate=0.1, epochs=30,
)  # fmt: skip


class Linear(nn.Module):
    """From the mean colour of a picture to three labels."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 3, bias=False)
        nn.init.zeros_(self.head.weight)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(images.mean((2, 3)))


@pytest.fixture(scope="module")
def photos() -> Photos:
    """64 photos of one colour each, near that of their label: one batch."""
    draws = np.random.default_rng(1)
    labels = np.arange(64) % 3
    colours = np.eye(3)[labels] * 150 + draws.integers(0, 60, (64, 3))
    pixels = np.broadcast_to(colours.astype(np.uint8)[:, None, None], (64, 8, 8, 3)).copy()
    return Photos(torch.from_numpy(pixels), torch.from_numpy(labels), 3)


def start(recipe: Recipe, net: nn.Module | None = None) -> Training:
    return Training(net or Linear(), recipe, head="head", steps_per_epoch=1)


def limit(photos: Photos) -> float:
    """The rate beyond which plain gradient descent cannot be stable: 2 over the largest curvature of the loss. With
    targets this smooth the best weights lie near zero, where the curvature is that of equal probabilities."""
    inputs = (photos.pixels[:, 0, 0] / 255 - 0.5) / 0.5  # (N, 3)
    net = Linear()

    def loss(weight: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(inputs @ weight.view(3, 3).T, photos.labels, label_smoothing=RECIPE.label_smoothing)

    hessian = torch.autograd.functional.hessian(loss, net.head.weight.detach().flatten())
    return 2 / float(torch.linalg.eigvalsh(hessian)[-1])


def test_the_loss_falls_within_the_known_stable_range_and_runs_away_beyond_it(photos):
    points = list(sweep(start(prepared(RECIPE)), photos, PLAIN, lowest=1e-4, highest=1e4))
    edge = limit(photos)
    begun, reading = points[0].loss, read(points)
    risen = next(point.rate for point in points if point.loss > begun)
    assert edge < risen < 20 * edge
    assert len(points) < STEPS and points[-1].loss > 2 * begun  # it ended there
    assert edge / 30 < reading.lowest < risen
    assert reading.suggestion == pytest.approx(reading.lowest / 10, rel=0.05)
    assert reading.suggestion < edge and reading.steepest < reading.lowest


def test_what_it_suggests_learns_and_a_thousand_times_more_does_not(photos):
    reading = read(list(sweep(start(prepared(RECIPE)), photos, PLAIN, lowest=1e-4, highest=1e4)))
    losses = []
    for factor in (1, 1000):
        recipe = RECIPE.changed(
            schedule="constant", warmup=0.0, average=0.0, **changes(RECIPE, reading.suggestion * factor)
        )
        epochs = list(train(start(recipe), photos, PLAIN))
        losses.append((epochs[0].loss, epochs[-1].loss))
    assert losses[0][1] < losses[0][0] and losses[1][1] > 2 * losses[1][0]


def test_the_rate_grows_by_the_same_factor_and_the_head_keeps_its_ratio(photos):
    class Two(Linear):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Conv2d(3, 3, 1)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return super().forward(self.body(images))

    training = start(prepared(RECIPE.changed(learning_rate=1e-3, head_learning_rate=4e-3)), Two())
    training.look_steps = 4  # as on a GPU
    seen = []
    for point in sweep(training, photos, PLAIN, lowest=1e-6, highest=1e-2, steps=5):
        seen.append([point.rate, *sorted({group["lr"] for group in training.optimizer.param_groups})])
    assert seen == [pytest.approx([rate, rate, 4 * rate]) for rate in (1e-6, 1e-5, 1e-4, 1e-3, 1e-2)]


def test_where_the_head_alone_learns_its_rate_is_varied():
    recipe = Recipe(trainable="head", learning_rate=5.0, head_learning_rate=0.02)
    assert changes(recipe, 0.004) == {"learning_rate": 1.0, "head_learning_rate": 0.004}
    assert prepared(recipe).head_learning_rate == 0.02


def test_a_recipe_without_a_rate_is_refused_by_name():
    with pytest.raises(RecipeError, match="learning_rate must be above 0") as refusal:
        prepared(Recipe(learning_rate=0, head_learning_rate=0))
    assert refusal.value.field == "learning_rate"


def test_three_losses_that_are_no_numbers_end_it_and_stay_out_of_the_json(photos):
    class Bursting(Linear):
        steps = 0

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            self.steps += 1
            return super().forward(images) * (math.nan if self.steps > 40 else 1)

    points = list(sweep(start(prepared(RECIPE), Bursting()), photos, PLAIN))
    assert [point.number for point in points] == list(range(1, 44))
    assert math.isnan(points[-1].loss)
    kept = json.loads(json.dumps(findings(RECIPE, points), allow_nan=False))
    assert kept["points"][-1][1:] == [None, None] and kept["points"][0][1] is not None


# --- reading a curve ----------------------------------------------------------------------------------------------
def curve(loss, steps: int = STEPS) -> list[Point]:
    rates = np.geomspace(LOWEST, HIGHEST, steps)
    return [Point(number, float(rate), float(loss(np.log10(rate)))) for number, rate in enumerate(rates, start=1)]


def valley(exponent: float) -> float:
    """A fall of 2 around 1e-4, the smallest loss at 1e-2, then away."""
    return 3 - 2 / (1 + np.exp(-2 * (exponent + 4))) + (max(exponent + 2, 0) * 1.5) ** 2


def test_a_tenth_of_the_smallest_and_the_steepest_are_found_on_a_known_curve():
    reading = read(curve(valley))
    assert math.log10(reading.lowest) == pytest.approx(-2, abs=0.4)
    assert math.log10(reading.steepest) == pytest.approx(-4, abs=0.1)
    assert reading.suggestion == pytest.approx(reading.lowest / 10, rel=0.05)
    assert "A tenth of the rate" in reading.sentence


def test_noise_moves_the_suggestion_by_less_than_a_decade():
    draws = np.random.default_rng(2)
    for _ in range(20):
        reading = read(curve(lambda exponent: valley(exponent) + draws.normal(0, 0.15)))
        assert math.log10(reading.suggestion) == pytest.approx(-3, abs=0.9)


@pytest.mark.parametrize(
    ("points", "words"),
    [
        (curve(lambda exponent: 2.3), "fell at no rate"),
        (curve(lambda exponent: 2.3 + max(exponent, 0)), "fell at no rate"),
        (curve(lambda exponent: math.nan), "too few"),
        (curve(valley)[:5], "too few"),
        ([], "too few"),
    ],
)
def test_nothing_is_suggested_where_nothing_is_seen(points, words):
    reading = read(points)
    assert reading.suggestion is reading.lowest is reading.steepest is None
    assert words in reading.sentence
    json.dumps(findings(RECIPE, points), allow_nan=False)


def test_pure_noise_suggests_nothing_most_of_the_time():
    draws = np.random.default_rng(3)
    suggested = [read(curve(lambda exponent: draws.normal(2.3, 0.2))).suggestion for _ in range(50)]
    assert sum(one is not None for one in suggested) <= 5


def test_a_loss_that_falls_to_the_end_says_so():
    reading = read(curve(lambda exponent: 3 - 0.2 * exponent))
    assert reading.lowest == pytest.approx(HIGHEST) and "may be larger" in reading.sentence


def test_a_missing_loss_in_the_middle_is_left_out():
    points = curve(valley)
    points[50] = Point(51, points[50].rate, math.inf)
    assert math.log10(read(points).lowest) == pytest.approx(-2, abs=0.4)
