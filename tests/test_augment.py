import numpy as np
import pytest
import torch

from tests.photos import draw
from trainer.augment import affine, augment, colour, padded_crop
from trainer.draws import PartDraws, generator
from trainer.mix import mix
from trainer.recipe import Recipe

pytestmark = pytest.mark.alone

STILL = Recipe(image_size=32, crop_scale=1, crop_ratio=1, flip=0, rotation_degrees=0, colour=0)


def pixels(count: int = 4) -> torch.Tensor:
    return torch.from_numpy(np.stack([np.asarray(draw(0, number)) for number in range(count)]))  # (B, 32, 32, 3)


def test_a_recipe_without_changes_gives_the_picture_itself():
    images = augment(pixels(), STILL, generator(1))
    assert torch.allclose(images, pixels().permute(0, 3, 1, 2) / 255, atol=1e-5)


def test_flip_mirrors_the_picture():
    always = Recipe.from_dict(STILL.as_dict() | {"flip": 1})
    assert torch.allclose(
        augment(pixels(), always, generator(1)), pixels().permute(0, 3, 1, 2).flip(3) / 255, atol=1e-5
    )


def test_a_quarter_turn_turns_the_picture():
    matrix = affine(1000, Recipe.from_dict(STILL.as_dict() | {"rotation_degrees": 90}), generator(1))
    angles = torch.atan2(matrix[:, 1, 0], matrix[:, 0, 0]) * 180 / np.pi
    assert angles.abs().max() <= 90
    assert angles.min() < -80
    assert angles.max() > 80


def test_a_crop_stays_inside_the_picture_and_keeps_its_share_of_the_area():
    recipe = Recipe.from_dict(STILL.as_dict() | {"crop_scale": 0.25, "crop_ratio": 4 / 3})
    matrix = affine(1000, recipe, generator(1))
    width, height = matrix[:, 0, 0], matrix[:, 1, 1]
    assert (width + matrix[:, 0, 2].abs() <= 1 + 1e-6).all()
    assert (height + matrix[:, 1, 2].abs() <= 1 + 1e-6).all()
    assert (width * height).min() >= 0.25 * 0.75  # a stretched crop is cut at the picture's edge
    assert ((width / height).log().abs() <= np.log(4 / 3) + 1e-5).float().mean() > 0.9


def test_the_same_numbers_give_the_same_pictures_and_others_give_others():
    recipe = Recipe(image_size=16, mixup=0.2)
    assert torch.equal(augment(pixels(), recipe, generator(1, 2, 3)), augment(pixels(), recipe, generator(1, 2, 3)))
    assert not torch.equal(augment(pixels(), recipe, generator(1, 2, 3)), augment(pixels(), recipe, generator(1, 2, 4)))


def test_the_size_is_the_recipes_and_values_stay_within_0_and_1():
    images = augment(pixels(), Recipe(image_size=24, colour=0.9), generator(1))
    assert images.shape == (4, 3, 24, 24)
    assert images.dtype == torch.float32
    assert images.min() >= 0
    assert images.max() <= 1


def test_saturation_and_contrast_leave_a_plain_grey_picture_alone_but_for_its_brightness():
    changed = colour(torch.full((8, 3, 4, 4), 0.5), 0.2, generator(1))
    assert torch.allclose(changed, changed[:, :1, :1, :1].expand_as(changed), atol=1e-6)
    assert 0.4 - 1e-6 <= changed.min() < changed.max() <= 0.6 + 1e-6


def test_a_padded_crop_is_a_window_of_the_mirrored_photo():
    photos = pixels(64).permute(0, 3, 1, 2)
    cropped = padded_crop(photos, 4, generator(1))
    padded = torch.nn.functional.pad(photos.float(), [4] * 4, mode="reflect").to(torch.uint8)
    found = set()
    for picture, around in zip(cropped, padded, strict=True):
        windows = around.unfold(1, 32, 1).unfold(2, 32, 1)  # (3, 9, 9, 32, 32)
        same = (windows == picture[:, None, None]).all(dim=(0, 3, 4)).nonzero()
        assert len(same) >= 1
        found.add(tuple(same[0].tolist()))
    assert len(found) > 30
    assert torch.equal(padded_crop(photos, 0, generator(1)), photos)


def test_a_crop_and_a_mirror_alone_move_whole_pixels():
    recipe = Recipe.from_dict(STILL.as_dict() | {"crop_padding": 4, "flip": 0.5})
    levels = augment(pixels(16), recipe, generator(1)) * 255
    assert torch.allclose(levels, levels.round(), atol=1e-4)


def test_shift_and_zoom_move_and_scale_the_map():
    shifted = affine(1000, Recipe.from_dict(STILL.as_dict() | {"shift": 0.2}), generator(1))
    assert 0.39 < shifted[:, :, 2].abs().max() <= 0.4  # of a side that is 2 wide
    assert torch.equal(shifted[:, :, :2], torch.eye(2).expand(1000, 2, 2))
    zoomed = affine(1000, Recipe.from_dict(STILL.as_dict() | {"zoom": 0.3}), generator(1))
    assert torch.equal(zoomed[:, 0, 0], zoomed[:, 1, 1])
    assert 0.7 <= zoomed[:, 0, 0].min() < 0.72
    assert 1.28 < zoomed[:, 0, 0].max() <= 1.3


def test_randaugment_changes_the_pictures_and_keeps_them_within_0_and_1():
    recipe = Recipe.from_dict(STILL.as_dict() | {"randaugment_operations": 2})
    images = augment(pixels(16), recipe, generator(1))
    assert not torch.equal(images, augment(pixels(16), STILL, generator(1)))
    assert 0 <= images.min() <= images.max() <= 1


@pytest.mark.parametrize("numbers", [(0,), (2**31 - 1, 10_000, 10**9)])
def test_a_generator_takes_any_seed(numbers: tuple[int, ...]):
    assert torch.rand((), generator=generator(*numbers)) == torch.rand((), generator=generator(*numbers))


@pytest.mark.parametrize(
    "changes",
    [
        {"mixup": 0.2, "cutmix": 1.0, "shift": 0.1, "zoom": 0.1},
        {"crop_scale": 1, "crop_ratio": 1, "rotation_degrees": 0, "crop_padding": 4, "cutmix": 1.0, "image_size": 32},
    ],
)
def test_pictures_are_changed_where_they_are(changes: dict):
    """A device that keeps shapes alone: a tensor left on the CPU would be refused."""
    recipe = Recipe.from_dict({"image_size": 24, **changes})
    for seed in range(4):  # both of mixup and cutmix
        images = augment(pixels().to("meta"), recipe, generator(seed))
        images, targets = mix(images, torch.zeros(4, 3, device="meta"), recipe, generator(seed))
        assert (images.device.type, targets.device.type) == ("meta", "meta")
        assert images.shape == (4, 3, recipe.image_size, recipe.image_size)


@pytest.mark.parametrize(
    "changes",
    [
        {"rotation_degrees": 20, "shift": 0.1, "zoom": 0.2, "colour": 0.4},
        {"crop_padding": 2, "crop_scale": 1, "crop_ratio": 1, "rotation_degrees": 0, "colour": 0},
        {"randaugment_operations": 2, "randaugment_magnitude": 20},
    ],
)
def test_a_part_of_a_batch_is_changed_as_it_is_within_the_whole(changes: dict):
    recipe, whole = Recipe(image_size=16, **changes), torch.rand(7, 16, 16, 3).mul(255).to(torch.uint8)
    changed = augment(whole, recipe, generator(1, 2, 3))
    for part in (slice(0, 4), slice(4, 7)):
        own = augment(whole[part], recipe, PartDraws(generator(1, 2, 3), part, 7))
        assert torch.allclose(own, changed[part], rtol=0, atol=1e-6)
