"""The hostile corpus at the decode function: the code of the table, in bounded time, and the right pixels."""

from __future__ import annotations

import time

import numpy as np
import pytest

from classifier import guard
from classifier.guard import Refused
from classifier.preprocess import Preprocessing, decode, preprocess
from tests import corpus
from tests.corpus import CASES, OK, Case

pytestmark = pytest.mark.alone

PREPROCESSING = Preprocessing(resize=64, crop=56)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_it_answers_as_the_table_says(case: Case):
    data = case.data
    started = time.process_time()  # of this process: what others do does not count
    try:
        pixels = preprocess(data, PREPROCESSING)
        code = OK
    except Refused as refused:
        code = refused.code
        assert str(refused) == refused.sentence
        assert refused.sentence.endswith(".")
    seconds = time.process_time() - started
    assert code in case.codes
    if code == OK:
        assert pixels.shape == (3, 56, 56)
        assert np.isfinite(pixels).all()
        assert guard.check(data).animated is case.animated
        assert seconds < 8
    else:
        assert seconds < 1


def test_it_covers_every_row_of_the_list():
    assert {case.row for case in CASES.values()} == set(range(68))  # 0 is ours, 68 are the file names
    assert len(corpus.FILE_NAMES) == 11


def test_no_file_is_larger_than_an_upload():
    assert max(len(case.data) for case in CASES.values()) <= guard.Limits().max_bytes


LIKE_THE_FIRST = {2, *range(4, 17), 24, 25, 26, 27, *range(28, 42)}  # rows


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.row in LIKE_THE_FIRST])
def test_it_shows_the_picture_that_was_stored(name: str):
    picture = decode(CASES[name].data)
    difference = np.asarray(picture).astype(int) - np.asarray(corpus.BASE)
    assert np.abs(difference).mean() < 3


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.codes == {OK}])
def test_what_is_decoded_has_no_metadata(name: str):
    picture = decode(CASES[name].data)
    assert picture.mode == "RGB"
    assert picture.info == {}
    assert dict(picture.getexif()) == {}
