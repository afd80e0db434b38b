import numpy as np
import pytest
import torch

from tests.photos import draw
from trainer.draws import generator
from trainer.randaugment import OPERATIONS, apply, randaugment, torchvision_ops

pytestmark = pytest.mark.alone

torchvision_ops.declare()
from torchvision.transforms import v2  # noqa: E402


def pictures(count: int = 3) -> torch.Tensor:
    return torch.from_numpy(np.stack([np.asarray(draw(0, number)) for number in range(count)])).permute(0, 3, 1, 2)


class Forced(v2.RandAugment):
    """torchvision's own, with one operation and direction."""

    def __init__(self, name: str, magnitude: int, sign: int) -> None:
        super().__init__(num_ops=1, magnitude=magnitude)
        self.name, self.sign = name, sign

    def _get_random_item(self, space):
        strengths, signed = space[self.name]
        if not signed or self.sign > 0:
            return self.name, (strengths, False)
        return self.name, (lambda *arguments: -strengths(*arguments), False)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("magnitude", [0, 9, 20, 30])
@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_is_torchvisions_at_every_strength(name: str, magnitude: int, sign: int):
    ours = apply(name, pictures(), magnitude, sign)
    theirs = torch.stack([Forced(name, magnitude, sign)(picture) for picture in pictures()])
    assert (ours.int() - theirs.int()).abs().max() <= 1  # its magnitudes are float32


def test_there_are_torchvisions_operations_and_no_others():
    assert set(OPERATIONS) == set(v2.RandAugment._AUGMENTATION_SPACE)


def test_each_picture_draws_its_own_operations_and_the_generator_decides():
    same = pictures(1).expand(64, -1, -1, -1)
    changed = randaugment(same, 1, 15, generator(1))
    assert changed.dtype == torch.uint8
    kinds = {picture.numpy().tobytes() for picture in changed}
    assert 10 <= len(kinds) <= 2 * len(OPERATIONS)
    assert torch.equal(changed, randaugment(same, 1, 15, generator(1)))
    assert not torch.equal(changed, randaugment(same, 1, 15, generator(2)))


def test_none_leaves_the_pictures_alone():
    assert torch.equal(randaugment(pictures(), 0, 9, generator(1)), pictures())
