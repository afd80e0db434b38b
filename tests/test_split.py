import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.split import SplitError, fingerprint, split

pytestmark = pytest.mark.alone


def contents(count: int) -> list[bytes]:
    return [number.to_bytes(32) for number in range(count)]


def test_each_label_is_divided_80_10_10():
    labels = ["chow"] * 100 + ["pug"] * 50
    parts = split(contents(150), labels, groups=range(150), seed=1)
    assert Counter(zip(labels, parts, strict=True)) == {
        ("chow", "train"): 80,
        ("chow", "validation"): 10,
        ("chow", "test"): 10,
        ("pug", "train"): 40,
        ("pug", "validation"): 5,
        ("pug", "test"): 5,
    }


def test_it_depends_on_content_and_seed_not_on_the_order():
    labels = ["chow"] * 60 + ["pug"] * 40
    parts = split(contents(100), labels, groups=range(100), seed=1)
    order = random.Random(0).sample(range(100), 100)
    shuffled = split([contents(100)[i] for i in order], [labels[i] for i in order], groups=range(100), seed=1)
    assert shuffled == [parts[i] for i in order]
    assert split(contents(100), labels, groups=range(100), seed=2) != parts


def test_a_photo_more_of_one_label_moves_no_photo_of_another():
    labels = ["chow"] * 60 + ["pug"] * 40
    before = split(contents(100), labels, groups=range(100), seed=1)
    after = split([*contents(100), b"new"], [*labels, "chow"], groups=range(101), seed=1)
    assert after[60:100] == before[60:]


@given(st.integers(0, 1000), st.lists(st.integers(0, 30), min_size=60, max_size=60))
def test_a_group_is_never_divided_and_no_part_is_empty(seed: int, groups: list[int]):
    labels = [("chow", "pug")[group % 2] for group in groups]
    if min(len({g for g, one in zip(groups, labels, strict=True) if one == label}) for label in ("chow", "pug")) < 3:
        with pytest.raises(SplitError):
            split(contents(60), labels, groups=groups, seed=seed)
        return
    parts = split(contents(60), labels, groups=groups, seed=seed)
    assert all(len({p for p, g in zip(parts, groups, strict=True) if g == group}) == 1 for group in set(groups))
    for label in ("chow", "pug"):
        assert {p for p, one in zip(parts, labels, strict=True) if one == label} == {"train", "validation", "test"}


def test_a_group_with_two_labels_stays_together():
    labels = ["chow"] * 30 + ["pug"] * 30
    groups = [*range(30), 0, *range(31, 60)]
    parts = split(contents(60), labels, groups=groups, seed=1)
    assert parts[0] == parts[30]


def test_a_label_of_two_distinct_photos_is_refused_by_name():
    labels = ["chow"] * 10 + ["pug"] * 4
    groups = [*range(10), 10, 10, 10, 11]
    with pytest.raises(SplitError, match="'pug' has 2 distinct photos"):
        split(contents(14), labels, groups=groups, seed=1)


def test_a_supplied_test_part_leaves_the_other_fractions_to_one_another():
    supplied = [*["train"] * 500, *["test"] * 100]
    cifar = (45 / 60, 5 / 60, 10 / 60)
    parts = split(contents(600), ["pug"] * 600, groups=range(600), seed=1, fractions=cifar, supplied=supplied)
    assert Counter(parts) == {"train": 450, "validation": 50, "test": 100}


def test_fractions_that_do_not_sum_to_1_are_refused():
    with pytest.raises(SplitError, match="sum to 1"):
        split(contents(10), ["pug"] * 10, groups=range(10), seed=1, fractions=(0.8, 0.1, 0.2))


def test_the_fingerprint_depends_on_pixels_labels_and_parts_alone():
    photos, labels, parts = contents(3), ["pug", "chow", "pug"], ["train", "train", "test"]
    one = fingerprint(photos, labels, parts)
    assert fingerprint(photos[::-1], labels[::-1], parts[::-1]) == one
    assert fingerprint(photos, labels, ["train", "test", "test"]) != one
    assert fingerprint(photos, ["pug", "pug", "pug"], parts) != one
