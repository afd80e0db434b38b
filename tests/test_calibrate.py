import numpy as np
import pytest
import torch

from tests.oracles import MulticlassCalibrationError
from trainer.calibrate import calibrate, expected_calibration_error, fit_temperature, unsure_below
from trainer.evaluate import loss_of

pytestmark = pytest.mark.alone

NUMBERS = np.random.default_rng(0)


def answers_drawn_from(logits: np.ndarray) -> np.ndarray:
    """Right labels drawn with the very probabilities that the logits say: such logits are calibrated."""
    shares = np.exp(logits - logits.max(1, keepdims=True))
    shares /= shares.sum(1, keepdims=True)
    return (shares.cumsum(1) < NUMBERS.random((len(logits), 1))).sum(1).clip(max=logits.shape[1] - 1)


HONEST = NUMBERS.normal(0, 2, (20_000, 10))
ANSWERS = answers_drawn_from(HONEST)


@pytest.mark.parametrize("factor", [0.4, 1.0, 3.0])
def test_it_finds_how_much_too_sure_a_network_is(factor: float):
    assert fit_temperature(HONEST * factor, ANSWERS) == pytest.approx(factor, rel=0.03)


def test_no_other_temperature_has_a_smaller_loss():
    best = fit_temperature(HONEST * 3, ANSWERS)
    losses = [loss_of(HONEST * 3 / t, ANSWERS) for t in (0.9 * best, best, 1.1 * best)]
    assert losses[1] == min(losses)


def test_calibrating_makes_probabilities_honest():
    found = calibrate(HONEST * 3, ANSWERS)
    assert found.ece_before > 0.15
    assert found.ece_after < 0.02
    assert (found.split, found.n) == ("validation", 20_000)


def test_the_error_agrees_with_torchmetrics():
    shares = torch.softmax(torch.from_numpy(HONEST[:500]) * 2, 1)
    oracle = MulticlassCalibrationError(10, n_bins=15, norm="l1")(shares, torch.from_numpy(ANSWERS[:500]))
    right = shares.argmax(1).numpy() == ANSWERS[:500]
    assert expected_calibration_error(shares.amax(1).numpy(), right) == pytest.approx(float(oracle), abs=1e-6)


def test_unsure_begins_where_half_of_the_answers_are_wrong():
    """Of honest probabilities that is one half."""
    confidence = NUMBERS.random(50_000)
    assert unsure_below(confidence, NUMBERS.random(50_000) < confidence) == pytest.approx(0.5, abs=0.05)


def test_fewer_than_half_of_the_answers_below_are_right_and_at_least_half_just_above():
    confidence = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    right = np.array([False, False, True, False, True, True])
    assert unsure_below(confidence, right) == 0.3  # from there on one of two is right


def test_a_network_that_is_always_right_is_never_unsure_and_one_that_is_always_wrong_always():
    confidence = np.linspace(0.1, 0.9, 9)
    assert unsure_below(confidence, np.ones(9, bool)) == 0
    assert unsure_below(confidence, np.zeros(9, bool)) == 1
