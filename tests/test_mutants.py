"""2,000 mutated files; `python -m benchmarks.mutants` tries 20,000 in a process that may die."""

from __future__ import annotations

import time
from collections import Counter

import numpy as np

from benchmarks.mutants import PREPROCESSING, mutants, originals
from classifier.guard import Refused
from classifier.preprocess import preprocess

COUNT = 2000


def test_every_original_is_a_good_picture():
    for data in originals():
        assert preprocess(data, PREPROCESSING).shape == (3, 56, 56)


def test_a_mutant_is_a_function_of_its_seed_and_number():
    assert list(mutants(1, 20)) == list(mutants(1, 20))
    assert list(mutants(1, 20)) != list(mutants(2, 20))


def test_every_mutant_is_a_picture_or_a_refusal_and_soon():
    answers: Counter[str] = Counter()
    for name, data in mutants(0, COUNT):
        started = time.process_time()
        try:
            assert np.isfinite(preprocess(data, PREPROCESSING)).all(), name
            answers["ok"] += 1
        except Refused as refused:
            answers[refused.code] += 1
        assert time.process_time() - started < 8, name
    assert answers.total() == COUNT
    # the mutants reach the decoder, and what they are refused for is not one thing
    assert answers["ok"] > COUNT / 10
    assert {"image_corrupt", "image_truncated", "unsupported_format"} <= set(answers)
