"""Every mode of picture comes as a person sees it on white paper."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from PIL import Image

from classifier.preprocess import decode
from tests.corpus import CASES, OK
from tests.pictures import (
    chunk,
    encode,
    png,
    smooth,
    ycck,
)

pytestmark = pytest.mark.alone


def test_16_bit_grey_is_scaled_and_not_saturated():
    assert decode(CASES["png16gray.png"].data).getpixel((9, 9)) == (156, 156, 156)


@pytest.mark.parametrize(("level", "seen"), [(0, 0), (257, 1), (128, 0), (129, 1), (65535, 255), (65406, 254)])
def test_16_bit_grey_is_rounded_to_the_nearest_level(level: int, seen: int):
    assert decode(png(np.full((32, 32), level, np.uint16))).getpixel((0, 0)) == (seen,) * 3


def test_what_is_transparent_is_white():
    assert decode(CASES["transparent_red.png"].data).getpixel((9, 9)) == (255, 255, 255)


def test_half_transparent_black_is_grey_on_white():
    assert decode(encode(Image.new("RGBA", (32, 32), (0, 0, 0, 128)), "PNG")).getpixel((9, 9)) == (127, 127, 127)


@pytest.mark.parametrize(
    ("pixels", "key"),
    [
        (np.full((32, 32), 40000, np.uint16), b"\x9c\x40"),
        (np.full((32, 32), 77, np.uint8), b"\0\x4d"),
        (np.full((32, 32, 3), 77, np.uint8), b"\0\x4d" * 3),
        (np.full((32, 32, 3), 0x4D4D, np.uint16), b"\x4d\x4d" * 3),
    ],
    ids=["16-bit grey", "8-bit grey", "8-bit rgb", "16-bit rgb"],
)
def test_a_transparent_colour_is_white_and_others_are_not(pixels: np.ndarray, key: bytes):
    pixels = pixels.copy()
    pixels[16:] = 0
    picture = decode(png(pixels, chunk(b"tRNS", key)))
    assert picture.getpixel((9, 9)) == (255, 255, 255)
    assert picture.getpixel((9, 20)) == (0, 0, 0)


def test_the_alphas_of_a_palette_count():
    picture = decode(encode(smooth(1).quantize(64), "PNG", transparency=bytes(64)))
    assert np.asarray(picture).min() == 255


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_every_png_mode_comes_as_rgb(mode: str):
    assert decode(encode(smooth(1).convert(mode), "PNG")).mode == "RGB"


def test_photoshops_inverted_ycck_has_its_colours():
    photo = smooth(4)
    difference = np.asarray(decode(ycck(photo))).astype(int) - np.asarray(photo)
    assert np.abs(difference).mean() < 2


def test_the_first_frame_of_an_animation_is_used():
    still, moving = decode(CASES["ok.webp"].data), decode(CASES["anim.webp"].data)
    assert np.abs(np.asarray(still).astype(int) - np.asarray(moving)).mean() < 3
    assert np.array_equal(np.asarray(decode(CASES["apng.png"].data)), np.asarray(decode(CASES["wrong_ext.jpg"].data)))


def test_nothing_warns(recwarn: pytest.WarningsRecorder):
    for case in CASES.values():
        if case.codes == {OK} and case.row != 59:
            decode(case.data)
    assert [str(warning.message) for warning in recwarn] == []


def test_it_holds_when_warnings_are_errors():
    data = CASES["pal_trns_bytes.png"].data
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert decode(data).mode == "RGB"
