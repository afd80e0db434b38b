"""The same photo gives the same answer in thirty ways of storing it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from classifier import preprocess
from classifier.preprocess import Preprocessing, decode
from tests.pictures import (
    chunk,
    encode,
    exif,
    inserted,
    png,
    segment,
    smooth,
    stored_as,
    turned_jpeg,
    ycck,
)

pytestmark = pytest.mark.alone

PREPROCESSING = Preprocessing(resize=64, crop=56)
LABELS = 10
WEIGHTS = np.random.default_rng(0).normal(size=(LABELS, 3 * 14 * 14)) / 14  # a fixed random network of one layer


def probabilities(data: bytes) -> np.ndarray:
    """What a small network says of a photo: mean colours of 14 x 14 fields, a random projection, softmax."""
    pixels = preprocess.preprocess(data, PREPROCESSING)  # (3, 56, 56)
    logits = WEIGHTS @ pixels.reshape(3, 14, 4, 14, 4).mean((2, 4)).ravel()
    powers = np.exp(logits - logits.max())
    return powers / powers.sum()


def grey(picture: Image.Image) -> Image.Image:
    return picture.convert("L")


def palette(picture: Image.Image) -> Image.Image:
    return picture.quantize(256).convert("RGB")


def faded(picture: Image.Image) -> Image.Image:
    """RGBA that looks like the picture on white: half of the ink, half of the cover."""
    pixels = np.asarray(picture).astype(int)
    shown = np.dstack((pixels, np.full(pixels.shape[:2], 255))).astype(np.uint8)
    shown[:8] = (255, 0, 0, 0)  # hidden red
    return Image.fromarray(shown)


def on_paper(picture: Image.Image) -> Image.Image:
    pixels = np.array(picture)
    pixels[:8] = 255
    return Image.fromarray(pixels)


# name -> (how it is stored, what it must look like)
VARIANTS = {
    **{f"jpeg_orient{turn}": (lambda p, t=turn: turned_jpeg(p, t, quality=95), None) for turn in range(1, 9)},
    "jpeg_intel_orient6": (lambda p: turned_jpeg(p, 6, "<", quality=95), None),
    "jpeg_progressive": (lambda p: encode(p, quality=95, progressive=True), None),
    "jpeg_444": (lambda p: encode(p, quality=95, subsampling=0), None),
    "jpeg_restarts": (lambda p: encode(p, quality=95, restart_marker_blocks=1), None),
    "jpeg_mpo": (lambda p: encode(p, "MPO", quality=95, save_all=True, append_images=[smooth(99)]), None),
    "jpeg_cmyk": (lambda p: encode(p.convert("CMYK"), quality=95), None),
    "jpeg_ycck": (ycck, None),
    "jpeg_icc": (lambda p: encode(p, quality=95, icc_profile=bytes(3000)), None),
    "jpeg_comment_and_xmp": (
        lambda p: inserted(
            encode(p, quality=95),
            segment(0xFE, b"c" * 60000),
            segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x tiff:Orientation='6'/>"),
        ),
        None,
    ),
    "jpeg_tail": (lambda p: encode(p, quality=95) + bytes(100_000), None),
    "jpeg_grey": (lambda p: encode(grey(p), quality=95), grey),
    "png": (lambda p: encode(p, "PNG"), None),
    "png_orient8": (lambda p: png(np.asarray(stored_as(p, 8)), chunk(b"eXIf", exif(8))), None),
    "png_rgba_hidden_red": (lambda p: encode(faded(p), "PNG"), on_paper),
    "png_la": (lambda p: encode(grey(p).convert("LA"), "PNG"), grey),
    "png_palette": (lambda p: encode(p.quantize(256), "PNG"), palette),
    "png_palette_alphas": (lambda p: encode(p.quantize(256), "PNG", transparency=b"\xff" * 256), palette),
    "png_16_bit_rgb": (lambda p: png(np.asarray(p).astype(np.uint16) * 257), None),
    "png_16_bit_grey": (lambda p: png(np.asarray(grey(p)).astype(np.uint16) * 257), grey),
    "png_1_bit": (lambda p: encode(p.convert("1"), "PNG"), lambda p: p.convert("1").convert("L")),
    "webp": (lambda p: encode(p, "WEBP", quality=95), None),
    "webp_lossless_orient5": (lambda p: encode(stored_as(p, 5), "WEBP", lossless=True, exif=exif(5)), None),
}


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("seed", range(10))
def test_a_photo_gives_the_same_answer_however_it_is_stored(seed: int, name: str):
    store, seen = VARIANTS[name]
    photo = smooth(seed, (160, 120))
    plain = (seen(photo) if seen else photo).convert("RGB")
    expected, got = probabilities(encode(plain, "PNG")), probabilities(store(photo))
    assert got.argmax() == expected.argmax()
    assert np.abs(got - expected).max() <= 0.02


def test_there_are_thirty_variants_and_the_small_network_tells_photos_apart():
    assert len(VARIANTS) == 30
    answers = {int(probabilities(encode(smooth(seed, (160, 120)))).argmax()) for seed in range(10)}
    assert len(answers) >= 4
    upright, turned = (probabilities(encode(stored_as(smooth(0, (160, 120)), turn))) for turn in (1, 6))
    assert np.abs(upright - turned).max() > 0.02  # a forgotten rotation would be seen


@settings(max_examples=60, deadline=None)
@given(
    turn=st.integers(1, 8),
    mode=st.sampled_from(["RGB", "L", "CMYK"]),
    width=st.integers(32, 200),
    height=st.integers(32, 200),
)
def test_every_orientation_of_every_mode_comes_upright(turn: int, mode: str, width: int, height: int):
    photo = smooth(width * 1000 + height, (width, height)).convert(mode)
    picture = decode(turned_jpeg(photo, turn, quality=100, subsampling=0))
    assert picture.size == (width, height)
    difference = np.asarray(picture).astype(int) - np.asarray(photo.convert("RGB"))
    assert np.abs(difference).mean() < 2
