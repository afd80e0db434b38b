"""How the learning rate goes from step to step, as a share of its highest value."""

import math
from dataclasses import dataclass

from trainer.recipe import Recipe

# What torch's OneCycleLR does unless told otherwise.
ONE_CYCLE_START = 1 / 25  # of the highest rate
ONE_CYCLE_END = ONE_CYCLE_START / 1e4
ONE_CYCLE_MOMENTUM = (0.85, 0.95)  # at the highest rate, and at the ends


@dataclass(frozen=True)
class Point:
    """Where one step stands."""

    rate: float  # of the highest learning rate, 0..1
    momentum: float | None = None  # None leaves the optimizer's


def point(recipe: Recipe, step: int, steps: int) -> Point:
    """Step 0, 1, … of all `steps` of a training. The rate rises in the `warmup` share of each cycle, then

    - cosine falls to 0 by half a cosine (Loshchilov & Hutter 2017, arXiv:1608.03983),
    - one-cycle falls to almost nothing, with the momentum against it (Smith & Topin 2018, arXiv:1708.07120),
    - step stays, and is multiplied by `step_factor` after every `step_epochs` epochs,
    - constant stays.
    """
    cycle = math.ceil(steps / recipe.cycles)
    if recipe.schedule == "cosine":
        return Point(cosine(step % cycle, cycle, recipe.warmup))
    if recipe.schedule == "one-cycle":
        return one_cycle(step % cycle, cycle, recipe.warmup)
    rate = min((step + 1) / (recipe.warmup * steps + 1), 1.0)
    if recipe.schedule == "step":
        epoch = step * recipe.epochs // steps
        rate *= recipe.step_factor ** (epoch // recipe.step_epochs)
    return Point(rate)


def cosine(step: int, steps: int, warmup: float) -> float:
    """A straight rise, then half a cosine down to 0 after the last step."""
    rising = warmup * steps
    if step < rising:
        return (step + 1) / (rising + 1)
    return (1 + math.cos(math.pi * (step - rising) / max(steps - rising, 1))) / 2


def one_cycle(step: int, steps: int, warmup: float) -> Point:
    """As torch.optim.lr_scheduler.OneCycleLR with its default factors."""
    top, last = warmup * steps - 1, steps - 1  # the steps of the highest rate and of the lowest
    low, high = ONE_CYCLE_MOMENTUM
    if step <= top and top > 0:
        share = step / top
        return Point(_between(ONE_CYCLE_START, 1.0, share), _between(high, low, share))
    share = (step - top) / max(last - top, 1e-9)
    return Point(_between(1.0, ONE_CYCLE_END, share), _between(low, high, share))


def _between(start: float, end: float, share: float) -> float:
    """From start to end along half a cosine."""
    return end + (start - end) / 2 * (1 + math.cos(math.pi * share))
