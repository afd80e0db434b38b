import numpy as np
import pytest
import torch

from classifier.quality import Quality, rate
from tests.oracles import MulticlassAccuracy, MulticlassConfusionMatrix, MulticlassPrecision, MulticlassRecall
from trainer.evaluate import bands, log_softmax, loss_of, quality, top

pytestmark = pytest.mark.alone

LOGITS = np.random.default_rng(0).normal(size=(200, 10)).astype(np.float32)
ANSWERS = np.random.default_rng(1).integers(0, 10, 200)


@pytest.mark.parametrize(
    ("correct", "n", "low", "high"),  # from Newcombe 1998, table I, method 3 (Wilson without continuity correction)
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0000, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_the_interval_is_wilsons(correct: int, n: int, low: float, high: float):
    found = rate(correct, n)
    assert (found.low, found.high) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


def test_all_right_ends_at_1():
    assert rate(20, 20).high == 1
    assert rate(20, 20).low == pytest.approx(1 - 0.1611, abs=5e-5)


@pytest.mark.parametrize("k", [1, 5])
def test_top_k_agrees_with_torchmetrics(k: int):
    oracle = MulticlassAccuracy(10, top_k=k, average="micro")(torch.from_numpy(LOGITS), torch.from_numpy(ANSWERS))
    assert top(LOGITS, ANSWERS, k).value == pytest.approx(float(oracle))


def test_of_equal_logits_the_earlier_label_counts_as_better():
    equal = np.zeros((2, 3), np.float32)
    assert top(equal, np.array([0, 2]), 1).correct == 1
    assert top(equal, np.array([0, 2]), 2).correct == 1
    assert top(equal, np.array([0, 2]), 3).correct == 2


def test_the_loss_is_the_mean_over_photos():
    oracle = torch.nn.functional.cross_entropy(torch.from_numpy(LOGITS), torch.from_numpy(ANSWERS))
    assert loss_of(LOGITS, ANSWERS) == pytest.approx(float(oracle), rel=1e-5)


def test_large_logits_do_not_overflow():
    assert loss_of(np.array([[1e4, -1e4]], np.float32), np.array([1])) == pytest.approx(2e4)


def test_the_figures_of_the_labels_sum_to_those_of_the_whole():
    labels = [f"label {number}" for number in range(10)]
    found = quality(LOGITS, ANSWERS, labels, split="test")
    assert found.n == 200 == sum(one.n for one in found.per_label.values())
    assert found.top1.correct == sum(one.correct for one in found.per_label.values())
    assert found.top1.correct == int((LOGITS.argmax(1) == ANSWERS).sum())


def test_a_label_without_photos_has_no_figure():
    assert list(quality(LOGITS[:, :3], ANSWERS % 2, ["a", "b", "c"], split="test").per_label) == ["a", "b"]


LABELS = [f"label {number}" for number in range(10)]


@pytest.fixture(scope="module")
def found() -> Quality:
    return quality(LOGITS, ANSWERS, LABELS, split="test")


def test_what_is_taken_for_what_agrees_with_torchmetrics(found: Quality):
    oracle = MulticlassConfusionMatrix(10)(torch.from_numpy(LOGITS), torch.from_numpy(ANSWERS))
    assert found.confusion is not None
    for right, label in enumerate(LABELS):
        for answer, other in enumerate(LABELS):
            count = found.per_label[label].correct if answer == right else found.confusion[label].get(other, 0)
            assert count == int(oracle[right, answer])


def test_recall_and_precision_of_each_label_agree_with_torchmetrics(found: Quality):
    logits, answers = torch.from_numpy(LOGITS), torch.from_numpy(ANSWERS)
    recalls = MulticlassRecall(10, average=None)(logits, answers)
    precisions = MulticlassPrecision(10, average=None)(logits, answers)
    answered = found.answered()
    for number, label in enumerate(LABELS):
        precision = found.precision(label, answered)
        assert found.per_label[label].value == pytest.approx(float(recalls[number]))
        assert precision is not None and precision.value == pytest.approx(float(precisions[number]))


def test_a_label_that_is_never_answered_has_no_precision():
    logits = np.array([[2.0, 0.0], [2.0, 1.0]], np.float32)
    found = quality(logits, np.array([0, 1]), ["a", "b"], split="test")
    assert found.confusion == {"a": {}, "b": {"a": 1}}
    assert found.precision("b", found.answered()) is None
    assert found.precision("a", found.answered()) == rate(1, 2)


def test_logits_that_are_no_number_answer_nothing():
    logits = np.array([[np.nan, np.nan], [0.0, np.nan], [1.0, 0.0]], np.float32)
    assert top(logits, np.array([0, 0, 0]), 1) == rate(1, 3)


def test_the_bands_say_how_often_about_so_much_is_right():
    confidence = np.array([0.81, 0.84, 0.76, 0.96, 0.44])
    right = np.array([True, False, True, True, False])
    low, middle, high = bands(confidence, right)
    assert (low.n, low.correct, low.confidence) == (1, 0, pytest.approx(0.44))
    assert (middle.n, middle.correct, middle.confidence) == (3, 2, pytest.approx((0.81 + 0.84 + 0.76) / 3))
    assert (high.n, high.correct) == (1, 1)


def test_the_bands_hold_every_answer_once(found: Quality):
    assert found.bands is not None
    assert sum(band.n for band in found.bands) == 200
    assert sum(band.correct for band in found.bands) == found.top1.correct
    mean = sum(band.n * band.confidence for band in found.bands) / 200
    assert mean == pytest.approx(float(np.exp(log_softmax(LOGITS)).max(axis=1).mean()))
