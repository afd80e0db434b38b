"""A thumbnail: the pixels, and nothing else of the file."""

from __future__ import annotations

import pytest

from classifier.preprocess import decode, thumbnail
from tests.corpus import CASES, OK
from tests.pictures import (
    encode,
    exif,
    exif_segment,
    inserted,
    segment,
    smooth,
)

pytestmark = pytest.mark.alone


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
