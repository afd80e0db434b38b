import torch

from trainer.blend import SHARES, blend, choose

START = {"weight": torch.tensor([0.0, 2.0]), "steps": torch.tensor(3)}
END = {"weight": torch.tensor([1.0, 4.0]), "steps": torch.tensor(9)}


def test_a_share_lies_between_start_and_end():
    assert torch.equal(blend(START, END, 0.5)["weight"], torch.tensor([0.5, 3.0]))
    assert torch.equal(blend(START, END, 1.0)["weight"], END["weight"])


def test_whole_numbers_are_those_of_the_end():
    assert blend(START, END, 0.5)["steps"] == 9


def test_the_share_with_the_smallest_loss_comes_first():
    losses = choose(lambda share: abs(share - 0.7))
    assert next(iter(losses)) == 0.75
    assert sorted(losses) == sorted(SHARES)
