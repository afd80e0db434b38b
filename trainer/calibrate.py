"""Make probabilities honest, on the validation photos: a temperature, and where "not sure" begins."""

import numpy as np

from classifier.spec import Calibration
from trainer.evaluate import log_softmax, loss_of

BINS = 15  # as in Guo et al.
TEMPERATURES = (0.05, 20.0)


def calibrate(logits: np.ndarray, answers: np.ndarray) -> Calibration:
    """From validation logits (N, K) and the right labels' indices (N,)."""
    temperature = fit_temperature(logits, answers)
    before, after = np.exp(log_softmax(logits)), np.exp(log_softmax(logits / temperature))
    right = logits.argmax(axis=1) == answers
    return Calibration(
        temperature=temperature,
        unsure_below=unsure_below(after.max(axis=1), right),
        split="validation",
        n=len(answers),
        ece_before=expected_calibration_error(before.max(axis=1), right),
        ece_after=expected_calibration_error(after.max(axis=1), right),
    )


def fit_temperature(logits: np.ndarray, answers: np.ndarray) -> float:
    """The temperature of the smallest cross-entropy (Guo et al. 2017, arXiv:1706.04599).

    The loss is convex in 1 / temperature, so a golden-section search finds its only minimum.
    """
    low, high = 1 / TEMPERATURES[1], 1 / TEMPERATURES[0]
    golden = (5**0.5 - 1) / 2
    for _ in range(60):
        left, right = high - golden * (high - low), low + golden * (high - low)
        if loss_of(logits * left, answers) < loss_of(logits * right, answers):
            high = right
        else:
            low = left
    return 2 / (low + high)


def expected_calibration_error(confidence: np.ndarray, right: np.ndarray) -> float:
    """How far the mean confidence lies from the share of right answers, over 15 equal bins weighted by their photos."""
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    error = 0.0
    for number in range(BINS):
        mask = bins == number
        if mask.any():
            error += mask.mean() * abs(confidence[mask].mean() - right[mask].mean())
    return float(error)


def unsure_below(confidence: np.ndarray, right: np.ndarray) -> float:
    """The probability under which fewer than half of the answers were right.

    Answers are sorted by their confidence. How often answers of about that confidence are right is estimated as a
    rising curve (isotonic regression by pooling adjacent violators); the threshold is the confidence at which this
    curve reaches one half. 0 where it starts there already: no answer is then called unsure.
    """
    order = np.argsort(confidence, kind="stable")
    blocks: list[list[float]] = []  # [sum of right, count, lowest confidence]
    for index in order:
        blocks.append([float(right[index]), 1, float(confidence[index])])
        while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] >= blocks[-1][0] / blocks[-1][1]:
            hits, count, _ = blocks.pop()
            blocks[-1][0] += hits
            blocks[-1][1] += count
    for number, (hits, count, lowest) in enumerate(blocks):
        if hits / count >= 0.5:
            return 0.0 if number == 0 else lowest
    return 1.0
