"""The learning-rate range test: a short training whose learning rate grows from step to step, and what it tells.

Smith 2017, arXiv:1506.01186; the sweep and the stop as in fastai's `lr_find` (100 steps from 1e-7 to 10, ended where
the smoothed loss is four times its smallest), the suggestion after Gugger 2018, "How do you find a good learning rate".
"""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from classifier.preprocess import Preprocessing
from trainer.cache import FeatureCache
from trainer.dataset import Dataset
from trainer.features import Computing
from trainer.fit import Fit
from trainer.loop import CPU, Diverged, Source, Step, Training, progress
from trainer.rates import changes, reference
from trainer.recipe import Recipe

LOWEST, HIGHEST, STEPS = 1e-7, 10.0, 100
DIVERGED = 4.0  # times the smallest smoothed loss
MOVING = 0.9  # decay a step of the average that sees a divergence
WIDTH = 3.0  # steps; standard deviation of the kernel that smooths the finished curve
AVERAGED = 2 * math.sqrt(math.pi) * WIDTH  # losses of which such a mean is worth as much as the plain one
SAFETY = 10.0  # the suggestion lies so far below the rate of the smallest loss
FALL, ERRORS = (
    0.02,
    4.0,
)  # a smaller fall is none: of the loss at the beginning, and standard errors of the smoothed loss


@dataclass(frozen=True)
class Point:
    """One step of a sweep. The loss is NaN where there was none."""

    number: int  # 1, 2, ...
    rate: float  # of what learns below the head, or of the head where nothing else does
    loss: float


@dataclass(frozen=True)
class Reading:
    """What a finished curve tells."""

    smoothed: list[float]  # of each point, NaN where there is none
    lowest: float | None  # the rate of the smallest smoothed loss
    steepest: float | None  # the rate at which it falls fastest
    suggestion: float | None
    sentence: str


def prepared(recipe: Recipe) -> Recipe:
    """The recipe of a sweep: its own, without what moves the rate, ends the training or averages its weights.

    Raises RecipeError where no rate can be found, for there is none to vary.
    """
    reference(recipe)
    return recipe.changed(schedule="constant", warmup=0.0, cycles=1, epochs=10_000, patience=0, average=0.0)


def find(
    net: nn.Module,
    dataset: Dataset,
    recipe: Recipe,
    *,
    work: Path,
    cache: FeatureCache | None = None,
    device: torch.device = CPU,
) -> Iterator[Computing | Point]:
    """The sweep of a recipe from the weights of `net`, on as many photos as it needs; before it, how far a frozen
    backbone is with looking at them. `work` is a folder for files of the moment."""
    some = dataclasses.replace(dataset, train=dataset.train[: STEPS * recipe.batch_size], validation=[], test=[])
    fit = Fit(net, some, prepared(recipe), recipe.preprocessing(), work=work, cache=cache, device=device)
    yield from fit.ground.fill()
    yield from sweep(fit.training, fit.ground.source, fit.preprocessing)


def sweep(
    training: Training,
    source: Source,
    preprocessing: Preprocessing,
    *,
    lowest: float = LOWEST,
    highest: float = HIGHEST,
    steps: int = STEPS,
) -> Iterator[Point]:
    """Steps at rates that grow by the same factor each time, until the last or until the loss runs away.

    `training` is a fresh one of a `prepared` recipe; its weights are worth nothing afterwards.
    """
    training.look_steps = 1  # each step at a rate of its own
    groups = training.optimizer.param_groups
    shares = [group["highest"] / reference(training.recipe) for group in groups]
    average, smallest, seen = 0.0, math.inf, 0
    one_by_one = (one for one in progress(training, source, preprocessing) if isinstance(one, Step))
    for number in range(1, steps + 1):
        rate = lowest * (highest / lowest) ** ((number - 1) / (steps - 1))
        for group, share in zip(groups, shares, strict=True):
            group["highest"] = rate * share
        try:
            step = next(one_by_one)
        except Diverged:
            yield Point(number, rate, math.nan)
            return
        yield Point(number, rate, step.loss)
        if not math.isfinite(step.loss):
            continue
        average = MOVING * average + (1 - MOVING) * step.loss
        seen += 1
        moving = average / (1 - MOVING**seen)
        smallest = min(smallest, moving)
        if moving > DIVERGED * smallest:
            return


def read(points: Sequence[Point]) -> Reading:
    """The suggestion: a tenth of the rate at which the smoothed loss is smallest."""
    losses = np.array([point.loss for point in points], dtype=float)
    rates = np.array([point.rate for point in points], dtype=float)
    smoothed = smooth(losses)
    there = np.isfinite(smoothed)
    tenth = max(len(points) // 10, 1)
    if there.sum() < 3 * tenth or there.sum() < 10:
        return Reading(
            smoothed.tolist(), None, None, None,
            f"It ended after {len(points)} steps, too few to tell: the loss ran away, or there was none, at the "
            "smallest rates already.",
        )  # fmt: skip
    rates, curve = rates[there], smoothed[there]
    low = int(curve.argmin())
    begun = float(curve[:tenth].mean())
    scatter = float(np.std((losses[there] - curve)[: low + 1]))
    if low < tenth or begun - curve[low] < max(FALL * abs(begun), ERRORS * scatter / AVERAGED**0.5):
        return Reading(
            smoothed.tolist(), None, None, None,
            f"The loss fell at no rate (it began at {begun:.4g}, the smallest is {curve[low]:.4g}): nothing can be "
            "suggested. More photos a step or less augmentation may show more.",
        )  # fmt: skip
    slopes = np.gradient(curve, np.log10(rates))
    steepest = float(rates[tenth // 2 : low + 1][slopes[tenth // 2 : low + 1].argmin()])
    lowest = float(rates[low])
    suggestion = float(f"{lowest / SAFETY:.2g}")
    sentence = f"A tenth of the rate at which the smoothed loss is smallest ({lowest:.2g}). "
    sentence += f"It falls fastest at {steepest:.2g}."
    if low == len(curve) - 1:
        sentence += " It still fell at the last rate: the best one may be larger."
    return Reading(smoothed.tolist(), lowest, steepest, suggestion, sentence)


def smooth(losses: np.ndarray) -> np.ndarray:
    """(N,) -> (N,): the mean of a step's neighbours on both sides, the nearer ones weighing more (a Gaussian kernel),
    so that the curve does not lag behind the rate. NaN counts for nothing, and stays NaN where it was."""
    places = np.arange(len(losses))
    weights = np.exp(-(((places[:, None] - places) / WIDTH) ** 2) / 2) * np.isfinite(losses)
    with np.errstate(invalid="ignore"):
        means = (weights @ np.nan_to_num(losses, posinf=0.0, neginf=0.0)) / weights.sum(axis=1)
    return np.where(np.isfinite(losses), means, np.nan)


def findings(recipe: Recipe, points: Sequence[Point]) -> dict[str, Any]:
    """What is kept of a finished sweep: plain JSON values, null for what is not finite."""
    reading = read(points)
    return {
        "points": [
            [point.rate, finite(point.loss), finite(mean)] for point, mean in zip(points, reading.smoothed, strict=True)
        ],
        "lowest": reading.lowest,
        "steepest": reading.steepest,
        "suggestion": reading.suggestion,
        "changes": changes(recipe, reading.suggestion) if reading.suggestion else {},
        "sentence": reading.sentence,
    }


def finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
