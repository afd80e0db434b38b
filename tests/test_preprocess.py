"""Bytes -> tensor: the same picture stored in thirty ways gives the same answer, and torchvision's pixels."""

from __future__ import annotations

import subprocess
import sys
import threading
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from classifier import preprocess
from classifier.guard import Limits, Refused
from classifier.preprocess import Preprocessing, decode, normalize, square, thumbnail
from tests.corpus import CASES, OK
from tests.pictures import (
    chunk,
    encode,
    exif,
    exif_segment,
    inserted,
    noise,
    png,
    scan_bomb,
    segment,
    smooth,
    stored_as,
    turned_jpeg,
    with_frame,
    ycck,
)

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


# --- what a person sees


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
    """R3, in a process of its own, whose peak nobody else has raised."""
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


# --- thumbnail


def test_a_thumbnail_has_nothing_of_the_file_but_its_pixels():
    marker = b"7f3c-planted-marker-9d21-planted"
    data = inserted(
        encode(smooth(1, (800, 600))),
        exif_segment(exif(6) + marker),
        segment(0xFE, marker),
        segment(0xE2, b"ICC_PROFILE\0\1\1" + marker),
        segment(0xED, marker),
    )
    small = thumbnail(data + marker, 200)
    assert marker not in small
    picture = decode(small)
    assert picture.size == (150, 200)  # turned upright
    for name in (b"Exif", b"ICC_PROFILE", b"ns.adobe.com", b"\xff\xfe"):
        assert name not in small[: small.index(b"\xff\xda")]
    assert small.endswith(b"\xff\xd9")


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.codes == {OK} and case.row not in (59,)])
def test_a_thumbnail_of_anything_good_is_a_small_jpeg(name: str):
    picture = decode(thumbnail(CASES[name].data, 64))
    assert max(picture.size) <= 64


def test_a_thumbnail_does_not_enlarge():
    assert decode(thumbnail(encode(smooth(1, (40, 36))), 200)).size == (40, 36)


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
