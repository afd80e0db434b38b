import pytest
import torch

from trainer.draws import generator
from trainer.mix import cutmix, mix, mixup
from trainer.recipe import Recipe

pytestmark = pytest.mark.alone


def test_mixup_blends_pictures_and_targets_by_the_same_share():
    images = torch.eye(6).view(6, 6, 1, 1)
    mixed, targets = mixup(images, torch.eye(6), 1.0, generator(1))
    assert torch.allclose(mixed.view(6, 6), targets)
    assert torch.allclose(targets.sum(1), torch.ones(6))
    assert (targets.diagonal() >= 0.5).all()
    assert not torch.equal(targets, torch.eye(6))


def test_cutmix_takes_a_box_of_another_picture_and_its_share_of_the_target():
    count = 40
    images = torch.arange(count).float().view(-1, 1, 1, 1).expand(count, 3, 16, 16)  # each picture full of its number
    mixed, targets = cutmix(images, torch.eye(count), 1.0, generator(1))
    for number in range(count):
        areas = torch.bincount(mixed[number, 0].flatten().int(), minlength=count) / 256
        assert torch.allclose(areas, targets[number], atol=1e-6)
    own = targets.diagonal()
    assert own.min() < 0.3
    assert own.max() > 0.9
    rows, columns = (mixed[own.argmin(), 0] != own.argmin()).nonzero().T
    assert len(rows) == (rows.max() - rows.min() + 1) * (columns.max() - columns.min() + 1)  # one box


def test_the_area_that_cutmix_leaves_is_even_over_0_to_1_but_for_boxes_cut_at_the_edge():
    targets = cutmix(torch.zeros(4000, 3, 16, 16), torch.eye(4000), 1.0, generator(1))[1]
    assert 0.5 < targets.diagonal().mean() < 0.75


@pytest.mark.parametrize(
    ("recipe", "kinds"), [({}, 1), ({"mixup": 1}, 1), ({"cutmix": 1}, 1), ({"mixup": 1, "cutmix": 1}, 2)]
)
def test_a_coin_decides_where_a_recipe_has_both(recipe: dict, kinds: int):
    images = torch.rand(6, 3, 8, 8, generator=generator(0))
    seen = set()
    for seed in range(20):
        mixed, targets = mix(images, torch.eye(6), Recipe(**recipe), generator(seed))
        assert torch.allclose(targets.sum(1), torch.ones(6))
        seen.add(bool(torch.isin(mixed, images).all()))  # cutmix leaves every pixel as it is in some picture
    assert len(seen) == kinds
