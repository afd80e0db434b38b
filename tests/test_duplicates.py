import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from tests.photos import encoded
from trainer.duplicates import Fingerprint, fingerprint, groups, near_pairs

pytestmark = pytest.mark.alone


def photo(seed: int, side: int = 96) -> Image.Image:
    """A picture with coarse and fine structure, as photographs have."""
    numbers = np.random.default_rng(seed)
    layers = [
        np.asarray(Image.fromarray(numbers.integers(0, 256, (n, n, 3), np.uint8)).resize((side, side), Image.BICUBIC))
        for n in (4, 9, 24)
    ]
    return Image.fromarray((0.5 * layers[0] + 0.3 * layers[1] + 0.2 * layers[2]).astype(np.uint8))


def again(picture: Image.Image, **options: int) -> Image.Image:
    return Image.open(io.BytesIO(encoded(picture, "JPEG", **options))).convert("RGB")


CHANGES = {
    "encoded at quality 60": lambda picture: again(picture, quality=60),
    "rescaled to 90 %": lambda picture: picture.resize((86, 86), Image.BILINEAR),
    "mirrored": ImageOps.mirror,
    "mirrored, rescaled and encoded": lambda picture: again(ImageOps.mirror(picture).resize((86, 86)), quality=60),
}


@pytest.mark.parametrize("change", CHANGES)
def test_95_of_100_changed_copies_stay_with_their_photo(change: str):
    photos = [photo(seed) for seed in range(100)]
    found = groups([fingerprint(one) for one in photos] + [fingerprint(CHANGES[change](one)) for one in photos])
    assert sum(found[100 + index] == index for index in range(100)) >= 95


def test_strangers_are_not_grouped():
    assert near_pairs([fingerprint(photo(seed)) for seed in range(300)]) == []


def test_plain_pictures_of_different_colours_are_not_duplicates():
    """A picture without structure has a hash without meaning: the pixels decide."""
    plain = [fingerprint(Image.new("RGB", (64, 64), colour)) for colour in ("red", "green", "blue", "white")]
    assert near_pairs(plain) == []


def test_the_same_pixels_in_two_files_are_exact_duplicates():
    first, second = fingerprint(photo(1)), fingerprint(Image.open(io.BytesIO(encoded(photo(1)))).convert("RGB"))
    assert first.pixels == second.pixels
    assert near_pairs([first, second]) == [(0, 1)]


def test_the_same_bytes_in_another_shape_are_another_picture():
    tall, wide = Image.new("RGB", (10, 20)), Image.new("RGB", (20, 10))
    assert fingerprint(tall).pixels != fingerprint(wide).pixels


def test_a_group_grows_through_its_members():
    """Two copies that are near their original are in one group, however far they are from each other."""
    pictures = [photo(1), CHANGES["mirrored"](photo(1)), photo(2), CHANGES["rescaled to 90 %"](photo(1))]
    assert groups([fingerprint(one) for one in pictures]) == [0, 0, 2, 0]


def test_the_order_of_the_files_decides_nothing():
    """6 bits apart as one sees it in the mirror, 7 as the other does."""
    thumbnail = np.random.default_rng(1).integers(0, 256, (32, 32), np.uint8)
    one = Fingerprint(b"one", hash=0, mirrored_hash=(1 << 30) - 1, thumbnail=thumbnail)
    other = Fingerprint(b"other", hash=((1 << 30) - 1) >> 6, mirrored_hash=(1 << 7) - 1, thumbnail=thumbnail[:, ::-1])
    assert groups([one, other]) == groups([other, one]) == [0, 0]
