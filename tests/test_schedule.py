import pytest
import torch

from trainer.recipe import Recipe
from trainer.schedule import cosine, point

pytestmark = pytest.mark.alone


def rates(recipe: Recipe, steps: int) -> list[float]:
    return [point(recipe, step, steps).rate for step in range(steps)]


def test_the_cosine_rises_and_falls_to_nothing():
    shares = [cosine(step, 100, 0.1) for step in range(101)]
    assert shares[0] == pytest.approx(1 / 11)
    assert shares[10] == 1
    assert shares[55] == pytest.approx(0.5)
    assert shares[100] == pytest.approx(0)
    assert max(shares) == 1
    assert cosine(0, 10, 0) == 1


def test_a_second_cycle_is_the_first_again():
    shares = rates(Recipe(cycles=2, warmup=0.2), 40)
    assert shares[:20] == shares[20:]


@pytest.mark.parametrize("warmup", [0.3, 0.1, 0.5])
@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.SGD])
def test_one_cycle_is_that_of_torch_in_rate_and_momentum(warmup: float, kind: type):
    recipe = Recipe(schedule="one-cycle", warmup=warmup)
    optimizer = kind([torch.nn.Parameter(torch.zeros(1))], lr=0.01)
    oracle = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.01, total_steps=90, pct_start=warmup)
    for step in range(90):
        ours = point(recipe, step, 90)
        group = optimizer.param_groups[0]
        assert 0.01 * ours.rate == pytest.approx(group["lr"], rel=1e-9)
        assert ours.momentum == pytest.approx(group["betas"][0] if "betas" in group else group["momentum"])
        optimizer.step()
        if step < 89:
            oracle.step()


@pytest.mark.parametrize("steps", [1, 2, 3])
@pytest.mark.parametrize("warmup", [0, 0.3, 1])
@pytest.mark.parametrize("schedule", ["cosine", "one-cycle", "step", "constant"])
def test_a_short_training_has_rates_between_nothing_and_the_highest(schedule: str, warmup: float, steps: int):
    shares = rates(Recipe(schedule=schedule, warmup=warmup, epochs=1), steps)
    assert all(0 <= share <= 1 for share in shares)
    assert max(shares) > 0


def test_the_steps_are_those_of_torch():
    recipe = Recipe(schedule="step", warmup=0, epochs=10, step_epochs=3, step_factor=0.5)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    oracle = torch.optim.lr_scheduler.StepLR(optimizer, step_size=3, gamma=0.5)
    for epoch in range(10):
        assert {point(recipe, epoch * 7 + step, 70).rate for step in range(7)} == {oracle.get_last_lr()[0]}
        optimizer.step()
        oracle.step()


def test_constant_stays_after_its_warmup():
    assert rates(Recipe(schedule="constant", warmup=0), 20) == [1.0] * 20
    assert rates(Recipe(schedule="constant", warmup=0.5), 8) == [0.2, 0.4, 0.6, 0.8, 1, 1, 1, 1]
