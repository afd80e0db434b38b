"""The guard by itself: what it says of a file, the order in which limits are named, and what it costs."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from classifier import guard
from classifier.guard import Limits, Refused
from classifier.headers.exif import orientation
from classifier.headers.sniff import sniff
from classifier.problems import PROBLEMS
from tests.corpus import CASES
from tests.pictures import (
    chunk,
    encode,
    exif,
    exif_bomb,
    exif_segment,
    find,
    inserted,
    noise,
    png,
    png_of,
    riff,
    segment,
    smooth,
    webp_of,
    with_frame,
)

pytestmark = pytest.mark.alone


def refusal(data: bytes, limits: Limits = Limits()) -> Refused:
    with pytest.raises(Refused) as refused:
        guard.check(data, limits)
    return refused.value


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_it_reads_the_size_without_decoding(format: str):
    header = guard.check(encode(smooth(1, (123, 77)), format))
    assert (header.format, header.width, header.height, header.animated) == (format, 123, 77, False)


@pytest.mark.parametrize("options", [{"lossless": True}, {"lossless": False}, {"exif": exif(6)}, {"icc_profile": b"x"}])
def test_it_reads_the_size_of_every_kind_of_webp(options: dict):
    header = guard.check(encode(smooth(1, (123, 77)), "WEBP", **options))
    assert (header.width, header.height) == (123, 77)
    assert header.orientation == (6 if "exif" in options else 1)


@pytest.mark.parametrize("order", [">", "<"])
@pytest.mark.parametrize("turn", range(1, 9))
def test_it_reads_the_orientation_in_both_byte_orders(turn: int, order: str):
    assert guard.check(inserted(encode(smooth(1)), exif_segment(exif(turn, order)))).orientation == turn


@pytest.mark.parametrize(
    "block",
    [b"", b"MM", b"MM\0*", b"MM\0*\xff\xff\xff\xff", b"II*\0\x08\0\0\0\xff\xff", exif(0), exif(9), exif(6)[:-6]],
)
def test_a_garbled_orientation_means_upright(block: bytes):
    assert orientation(block) == 1


def test_a_block_of_65535_entries_is_not_walked_to_its_end():
    started = time.process_time()
    assert orientation(exif_bomb(10).replace(b"\x01\x12\x00\x01", b"\x01\x13\x00\x01")) == 1
    assert time.process_time() - started < 0.1


def test_an_empty_file_is_called_empty():
    assert refusal(b"").code == "image_empty"


def test_a_file_above_the_limit_is_told_the_limit():
    refused = refusal(bytes(1000), Limits(max_bytes=999))
    assert (refused.code, refused.status, refused.details) == ("file_too_large", 413, {"limit_bytes": 999})


@pytest.mark.parametrize(("max_bytes", "said"), [(10 * 1024**2, "10 MB"), (500_000, "0.48 MB")])
def test_a_file_one_byte_above_the_limit_is_told_the_limit(max_bytes: int, said: str):
    assert f"larger than the {said} that" in refusal(bytes(max_bytes + 1), Limits(max_bytes=max_bytes)).sentence


def test_a_file_at_the_limit_passes():
    data = encode(smooth(1))
    assert guard.check(data, Limits(max_bytes=len(data)))


@pytest.mark.parametrize(
    ("size", "code"),
    [((31, 32), "image_too_small"), ((32, 31), "image_too_small"), ((641, 32), "image_bad_shape")],
)
def test_it_names_what_is_wrong_with_the_size(size: tuple[int, int], code: str):
    assert refusal(encode(Image.new("RGB", size))).code == code


@pytest.mark.parametrize("size", [(32, 32), (640, 32), (32, 640)])
def test_a_size_at_the_limit_passes(size: tuple[int, int]):
    assert guard.check(encode(Image.new("RGB", size)))


def test_a_side_above_the_limit_is_refused_though_its_shape_and_its_pixels_are_not():
    limits = Limits(max_side=300)
    assert refusal(encode(Image.new("RGB", (301, 100))), limits).code == "image_bad_shape"
    assert guard.check(encode(Image.new("RGB", (300, 100))), limits)


def test_pixels_are_counted_before_the_shape_is_looked_at():
    assert refusal(encode(Image.new("RGB", (400, 10))), Limits(max_pixels=3999)).code == "image_too_many_pixels"


def test_a_webp_may_have_fewer_pixels():
    picture = Image.new("RGB", (100, 100))
    limits = Limits(max_webp_pixels=9_999)
    assert refusal(encode(picture, "WEBP"), limits).code == "image_too_many_pixels"
    assert guard.check(encode(picture, "PNG"), limits)


def test_a_progressive_photo_has_a_dozen_scans_at_most():
    assert 2 <= guard.check(encode(smooth(1), progressive=True)).scans <= 12


def test_a_scan_above_the_limit_is_refused():
    data = encode(smooth(1), progressive=True)
    scans = guard.check(data).scans
    assert guard.check(data, Limits(max_scans=scans))
    assert refusal(data, Limits(max_scans=scans - 1)).code == "image_too_complex"


def test_a_marker_above_the_limit_is_refused():
    data = inserted(encode(smooth(1)), *[segment(0xE5, b"x")] * 5000)
    assert refusal(data).code == "image_too_complex"


def test_restart_markers_are_no_end_of_a_scan():
    assert guard.check(encode(noise(1), restart_marker_blocks=1)).scans == 1


def test_a_second_picture_after_the_first_is_not_looked_at():
    data = encode(smooth(1, (64, 64))) + encode(smooth(1, (40, 20)))
    assert (guard.check(data).width, guard.check(data).stripped(data)[-2:]) == (64, b"\xff\xd9")


def test_a_thumbnail_inside_the_exif_block_is_not_taken_for_the_picture():
    inner = exif(6) + encode(smooth(2, (160, 120)))
    header = guard.check(inserted(encode(smooth(1)), exif_segment(inner)))
    assert (header.width, header.height, header.orientation) == (320, 240, 6)


@pytest.mark.parametrize("width", [320, 2000, 7000])
def test_a_size_that_the_data_cannot_fill_is_a_lie(width: int):
    data = with_frame(encode(Image.new("RGB", (320, 240))), width=width, height=width)
    if width == 320:
        assert guard.check(data)
    else:
        assert refusal(data).code == "image_truncated"


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"optimize": True}, {"quality": 1}])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("size", [(1023, 999), (64, 33)])
def test_the_emptiest_true_picture_fills_its_size(size: tuple[int, int], mode: str, options: dict):
    assert guard.check(encode(Image.new(mode, size), **options))


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "RGBA", "P"])
def test_the_emptiest_true_png_fills_its_size(mode: str):
    assert guard.check(encode(Image.new(mode, (3000, 3000)), "PNG", compress_level=9))


@pytest.mark.parametrize(
    "data",
    [
        webp_of(),
        webp_of(riff(b"VP8X", b"")),
        webp_of(riff(b"VP8L", b""), bytes(20)),
        webp_of(riff(b"VP8 ", b"\0" * 20)),
        webp_of(riff(b"ALPH", b"\0" * 20)),
        png_of(64, 64, 3, 2, [b"x"]),
        png_of(64, 64, 8, 5, [b"x"]),
        png_of(0, 64, 8, 2, [b"x"]),
        png_of(64, 64, 8, 2, []),
        b"\x89PNG\r\n\x1a\n" + chunk(b"IDAT", bytes(100)),
        inserted(encode(smooth(1)), segment(0xDA, b"\1\1\0\0\x3f\0")),
        inserted(encode(smooth(1)), b"\xff\xd8"),
        inserted(encode(smooth(1)), b"\xff\xe0\0\1"),
        inserted(encode(smooth(1)), b"no marker"),
    ],
)
def test_headers_that_cannot_be_are_damage(data: bytes):
    assert refusal(data).code in ("image_corrupt", "image_truncated")


def test_an_arithmetic_jpeg_is_told_what_it_is():
    data = with_frame(encode(smooth(1)), marker=0xC9)
    while True:
        try:
            start, stop = find(data, 0xC4)
        except IndexError:
            break
        data = data[:start] + data[stop:]
    assert refusal(data).code == "unsupported_format"
    assert "arithmetic-coded" in str(refusal(data))


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf", "AVIF"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "HEIC"),
        (b"\0\0\0\x18ftypisom\0\0\0\0isommp42", "MP4 video"),
        (b"GIF89a", "GIF"),
        (b"\xef\xbb\xbf  <!DOCTYPE HTML>", "HTML"),
        (b"<?xml version='1.0'?><svg/>", "SVG"),
        (b"<note/>", "XML"),
        (b"PK\3\4", "ZIP"),
        (b"RIFF\0\0\0\0WAVE", None),
        (b"hello", None),
    ],
)
def test_it_knows_other_formats_by_their_first_bytes(head: bytes, name: str | None):
    assert sniff(head) == name


def test_an_iphone_photo_is_told_what_to_do():
    refused = refusal(CASES["heic.jpg"].data)
    assert str(refused) == "iPhone HEIC is not supported; export as JPEG."
    assert refused.details == {"detected": "HEIC", "accepted": ["JPEG", "PNG", "WEBP"]}


def test_every_code_of_a_refusal_has_a_status():
    assert {code for case in CASES.values() for code in case.codes} <= {"ok", *PROBLEMS}


@pytest.mark.parametrize("fill", [b"\xff", b"\xff\0", b"\0", b"\xff\xd0", b"\xff\xfe\0\2"])
def test_ten_megabytes_of_anything_take_less_than_a_second(fill: bytes):
    jpeg = encode(smooth(1))
    start, stop = find(jpeg, 0xDA)
    filling = fill * (10_000_000 // len(fill))
    for data in (b"\xff\xd8" + filling, jpeg[:stop] + filling, jpeg[: start + 14] + filling + jpeg[stop:]):
        started = time.process_time()
        with suppress(Refused):
            guard.check(data)
        assert time.process_time() - started < 1


def test_a_png_of_many_empty_chunks_takes_less_than_a_second():
    data = png(np.zeros((64, 64), np.uint8), chunk(b"tEXt") * 800_000)
    started = time.process_time()
    assert refusal(data).code == "image_too_complex"
    assert time.process_time() - started < 1


def test_only_one_module_opens_pictures():
    """Whoever decodes a photo another way gets other pixels, and another hole."""
    root = Path(guard.__file__).parent.parent
    users = {
        path.relative_to(root).as_posix()
        for folder in ("classifier", "trainer", "breedsite")
        for path in (root / folder).rglob("*.py")
        if "Image.open" in path.read_text() or "ImageFile" in path.read_text() or "read_image" in path.read_text()
    }
    assert users == {"classifier/preprocess.py"}
