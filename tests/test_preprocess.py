"""Bytes -> tensor: torchvision's pixels, large photos, what it may cost, and the numbers on a model card."""

from __future__ import annotations

import subprocess
import sys
import threading

import numpy as np
import pytest
from PIL import Image

from classifier import preprocess
from classifier.guard import Limits, Refused
from classifier.preprocess import Preprocessing, decode, normalize, square
from tests.corpus import CASES
from tests.pictures import (
    encode,
    noise,
    scan_bomb,
    smooth,
    turned_jpeg,
    with_frame,
)

pytestmark = pytest.mark.alone

PREPROCESSING = Preprocessing(resize=64, crop=56)


# --- resize, crop, normalize


@pytest.mark.parametrize(
    "size", [(500, 375), (375, 500), (224, 224), (256, 256), (257, 399), (33, 47), (640, 32), (640, 427)]
)
@pytest.mark.parametrize(
    "preprocessing", [Preprocessing(), Preprocessing(224, 224), Preprocessing(235, 192), PREPROCESSING]
)
def test_the_pixels_are_torchvisions_within_one_level(size: tuple[int, int], preprocessing: Preprocessing):
    torchvision_ops = pytest.importorskip("classifier.networks.torchvision_ops")
    torchvision_ops.declare()
    from torchvision.transforms import v2

    picture = smooth(7, size)
    oracle = v2.Compose([v2.Resize(preprocessing.resize, antialias=True), v2.CenterCrop(preprocessing.crop)])
    expected = np.asarray(oracle(picture)).astype(int)
    got = square(picture, preprocessing)
    assert got.shape == (preprocessing.crop, preprocessing.crop, 3)
    assert np.abs(got - expected).max() <= 1


def test_normalize_is_mean_and_standard_deviation_of_0_to_1():
    pixels = np.random.default_rng(0).integers(0, 256, (2, 5, 7, 3), dtype=np.uint8)
    expected = ((pixels / 255 - Preprocessing().mean) / Preprocessing().std).transpose(0, 3, 1, 2)
    got = normalize(pixels, Preprocessing())
    assert got.dtype == np.float32
    assert got.flags.c_contiguous
    assert got.shape == (2, 3, 5, 7)
    assert np.abs(got - expected).max() < 1e-5
    assert np.array_equal(normalize(pixels[1], Preprocessing()), got[1])


def test_preprocess_is_decode_square_normalize():
    data = encode(smooth(1, (300, 200)))
    expected = normalize(square(decode(data, shorter_side=64), PREPROCESSING), PREPROCESSING)
    assert np.array_equal(preprocess.preprocess(data, PREPROCESSING), expected)


def detailed(size: tuple[int, int]) -> Image.Image:
    """A picture with edges a few pixels of the network's apart, in which half a pixel of shift is seen."""
    return noise(8, (120, 90)).resize(size, Image.Resampling.BICUBIC)


@pytest.mark.parametrize(("size", "turn"), [((2400, 1800), 1), ((2403, 1801), 3), ((2302, 2302), 1), ((3600, 2051), 6)])
def test_a_large_jpeg_is_decoded_smaller_and_looks_the_same(size: tuple[int, int], turn: int):
    photo = detailed(size)
    small = decode(turned_jpeg(photo, turn, quality=95), shorter_side=256)
    assert 512 <= min(small.size) < 1024
    difference = square(small, Preprocessing()).astype(int) - square(photo, Preprocessing())
    assert np.abs(difference).mean() < 0.8


@pytest.mark.parametrize("size", [(4096, 3072), (4201, 3001)])
def test_a_large_png_is_made_smaller_inside_the_lock_and_looks_the_same(size: tuple[int, int]):
    photo = detailed(size)
    small = decode(encode(photo, "PNG", compress_level=1), Limits(max_bytes=10**8), shorter_side=256)
    assert 512 <= min(small.size) <= 1024
    difference = square(small, Preprocessing()).astype(int) - square(photo, Preprocessing())
    assert np.abs(difference).mean() < 0.8


def test_a_picture_is_never_decoded_smaller_than_twice_what_was_asked():
    for side in (511, 512, 513, 1024, 1500):
        picture = decode(encode(Image.new("RGB", (side, side))), shorter_side=256)
        assert min(picture.size) >= min(side, 512)


def test_only_one_large_picture_is_decoded_at_a_time(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(preprocess, "LARGE_PIXELS", 5_000)
    large, small = encode(smooth(1, (100, 100))), encode(smooth(1, (50, 50)))
    done = threading.Event()
    with preprocess._one_large:
        thread = threading.Thread(target=lambda: (decode(large), done.set()))
        thread.start()
        assert decode(small).size == (50, 50)
        assert not done.wait(0.2)
    thread.join()
    assert done.is_set()


# --- bounds


def test_only_readers_of_accepted_formats_are_loaded():
    """The parsers of EPS, PSD, FITS and the rest stay out of reach, whatever a file calls itself."""
    program = (
        "import sys\n"
        "from classifier.preprocess import decode\n"
        "from classifier.guard import Refused\n"
        "from tests.corpus import CASES\n"
        "for name in ('ok_baseline.jpg', 'rgba.png', 'ok.webp', 'fmt_eps.jpg', 'random_magic.jpg', 'fmt_psd.jpg'):\n"
        "    try: decode(CASES[name].data)\n"
        "    except Refused: pass\n"
        "print(*{'PIL.EpsImagePlugin', 'PIL.PsdImagePlugin', 'PIL.FitsImagePlugin', 'torch'} & set(sys.modules))\n"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []


def test_a_refused_large_picture_lets_the_next_one_in(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(preprocess, "LARGE_PIXELS", 5_000)
    data = encode(smooth(1, (100, 100)), "PNG")
    with pytest.raises(Refused):
        decode(data.replace(data[60:80], bytes(20)))
    assert decode(data).size == (100, 100)


@pytest.mark.parametrize(
    "error",
    [MemoryError(), RecursionError(), KeyError("x"), ZeroDivisionError(), OverflowError(), SyntaxError("broken PNG")],
)
def test_whatever_pillow_raises_is_a_refusal(error: Exception, monkeypatch: pytest.MonkeyPatch):
    def fail(*args: object, **options: object) -> None:
        raise error

    monkeypatch.setattr(preprocess.Image, "open", fail)
    with pytest.raises(Refused) as refused:
        decode(encode(smooth(1)))
    assert refused.value.code == ("image_too_complex" if isinstance(error, MemoryError) else "image_corrupt")
    assert refused.value.__cause__ is error


@pytest.mark.parametrize("name", ["legit_50mp.jpg", "rgba_49mp.png", "progressive_49mp.jpg", "webp_39mp.webp"])
def test_the_largest_pictures_take_less_than_700_megabytes(name: str, tmp_path):
    """In a process of its own, whose peak nobody else has raised."""
    make = {
        "legit_50mp.jpg": lambda: CASES["legit_50mp.jpg"].data,
        "rgba_49mp.png": lambda: encode(Image.new("RGBA", (8500, 5800), (9, 9, 9, 99)), "PNG", compress_level=1),
        "progressive_49mp.jpg": lambda: scan_bomb(2, (8500, 5800)),
        "webp_39mp.webp": lambda: encode(
            Image.new("RGBA", (7500, 5300), (9, 9, 9, 99)), "WEBP", lossless=True, method=0
        ),
    }
    file = tmp_path / name
    file.write_bytes(make[name]())
    program = (
        "import sys, pathlib\n"
        "from classifier.preprocess import Preprocessing, preprocess\n"
        "def peak(): return next(int(l.split()[1]) for l in open('/proc/self/status') if l.startswith('VmHWM'))\n"
        "data, before = pathlib.Path(sys.argv[1]).read_bytes(), peak()\n"
        "preprocess(data, Preprocessing())\n"
        "print(peak() - before)\n"
    )
    run = subprocess.run([sys.executable, "-c", program, file], capture_output=True, text=True, check=True)
    assert int(run.stdout) / 1024 < 700  # MB


def test_a_forged_size_costs_no_memory_for_pixels():
    data = with_frame(encode(smooth(1)), width=7000, height=7000)
    with pytest.raises(Refused):
        decode(data, Limits(max_pixels=10**9))


# --- the numbers on a model card


def test_preprocessing_survives_its_own_dict():
    values = PREPROCESSING.as_dict()
    assert values["interpolation"] == "bilinear"
    assert Preprocessing.from_dict(values) == PREPROCESSING


@pytest.mark.parametrize(
    "change",
    [
        {"crop": 65},
        {"crop": 0},
        {"crop": True},
        {"resize": 64.0},
        {"resize": 10**6},
        {"mean": [0.5, 0.5]},
        {"mean": "abc"},
        {"mean": [0.5, 0.5, float("nan")]},
        {"std": [0.5, 0.5, 0.0]},
        {"std": [0.5, 0.5, "1"]},
        {"interpolation": "nearest"},
        {"file": "../../x"},
    ],
)
def test_preprocessing_out_of_range_is_named(change: dict):
    with pytest.raises(ValueError, match="preprocessing"):
        Preprocessing.from_dict(PREPROCESSING.as_dict() | change)
