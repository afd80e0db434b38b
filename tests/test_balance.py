import pytest
import torch

from trainer.balance import order, weights
from trainer.draws import generator

pytestmark = pytest.mark.alone

# Animals-10, the photos of each label.
ANIMALS = (4363, 2123, 946, 1612, 2598, 1168, 1366, 1320, 4321, 1362)
LABELS = torch.repeat_interleave(torch.arange(10), torch.tensor(ANIMALS))


def test_the_weights_of_animals_are_the_published_ones():
    found = weights(LABELS, 10)
    assert found[0] == pytest.approx(0.485, abs=5e-4)  # dogs
    assert found[2] == pytest.approx(2.24, abs=5e-3)  # elephants


def test_the_mean_photo_weighs_one():
    assert weights(LABELS, 10)[LABELS].mean() == pytest.approx(1, abs=1e-4)


def test_a_label_without_photos_has_a_finite_weight():
    assert torch.isfinite(weights(torch.tensor([0, 0, 2]), 4)).all()


def test_without_balance_every_photo_comes_once():
    assert order(LABELS, "none", generator(1)).sort().values.tolist() == list(range(len(LABELS)))
    assert torch.equal(order(LABELS, "weights", generator(1)), order(LABELS, "none", generator(1)))


def test_oversampling_draws_every_label_equally_often():
    drawn = LABELS[order(LABELS, "oversampling", generator(1))]
    assert len(drawn) == len(LABELS)
    shares = torch.bincount(drawn, minlength=10) / len(drawn)
    assert (shares - 0.1).abs().max() < 0.01  # five standard deviations
    assert not torch.equal(drawn, LABELS[order(LABELS, "oversampling", generator(2))])
