from dataclasses import replace

import numpy as np
import pytest

from classifier.preprocess import Preprocessing, decode, square
from tests.photos import make_records
from trainer.data import load
from trainer.dataset import DatasetError, prepare
from trainer.ingest.record import Record
from trainer.recipe import Recipe

pytestmark = pytest.mark.alone


def broken(name: str = "chow/broken.png", label: str = "chow") -> Record:
    return Record(name, label, lambda: b"not a picture")


def test_photos_are_divided_and_labels_are_sorted():
    dataset = prepare(make_records(("pug", "chow"), 20), seed=1)
    assert dataset.labels == ("chow", "pug")
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (32, 4, 4)
    names = [record.name for part in (dataset.train, dataset.validation, dataset.test) for record in part]
    assert len(set(names)) == 40
    assert dataset.answers(dataset.test) == [dataset.labels.index(record.label) for record in dataset.test]


def test_the_same_photos_under_other_names_give_the_same_division():
    records = make_records(count=20)
    renamed = [replace(record, name=f"other-{index}") for index, record in enumerate(reversed(records))]
    first, second = prepare(records, seed=1), prepare(renamed, seed=1)
    assert first.fingerprint == second.fingerprint
    assert {record.read() for record in first.test} == {record.read() for record in second.test}
    assert prepare(records, seed=2).fingerprint != first.fingerprint


def test_a_copy_of_a_photo_is_never_in_another_part():
    records = make_records(count=20)
    copies = [replace(record, name=f"copy of {record.name}") for record in records[:10]]
    dataset = prepare([*records, *copies], seed=1)
    assert dataset.near_duplicates == 10
    parts = [{record.read() for record in part} for part in (dataset.train, dataset.validation, dataset.test)]
    assert not (parts[0] & parts[1] or parts[0] & parts[2] or parts[1] & parts[2])


def test_one_unreadable_photo_in_a_hundred_is_left_out_and_named():
    dataset = prepare([*make_records(count=60), broken()], seed=1)
    assert list(dataset.unreadable) == ["chow/broken.png"]
    assert dataset.unreadable["chow/broken.png"].endswith(".")


def test_more_unreadable_photos_refuse_the_dataset():
    with pytest.raises(DatasetError, match=r"2 of 22 photos cannot be read, the first is chow/broken\.png"):
        prepare([*make_records(count=10), broken(), broken("chow/other.png")], seed=1)


def test_a_single_label_is_refused():
    with pytest.raises(DatasetError, match="two labels"):
        prepare(make_records(("pug",), 10), seed=1)


def test_photos_in_memory_are_what_the_decoder_of_every_prediction_gives():
    records, small = make_records(count=2), Preprocessing(resize=24, crop=16)
    photos = load(records, ("chow", "pug"), small)
    assert photos.pixels.shape == (4, 16, 16, 3)
    assert photos.labels.tolist() == [0, 0, 1, 1]
    for pixels, record in zip(photos.pixels, records, strict=True):
        assert np.array_equal(pixels, square(decode(record.read(), shorter_side=24), small))


def test_an_epoch_shows_every_photo_once_in_an_order_of_its_own():
    photos = load(make_records(count=10), ("chow", "pug"), Preprocessing(resize=16, crop=16))
    recipe = Recipe(batch_size=8)
    orders = [[labels.tolist() for _, labels in photos.batches(recipe, epoch)] for epoch in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]
    assert [len(batch) for batch in orders[0]] == [8, 8, 4]
    assert photos.steps(8) == 3
    assert sorted(label for batch in orders[0] for label in batch) == [0] * 10 + [1] * 10
    rest = [labels.tolist() for _, labels in photos.batches(recipe, 0, first=2)]
    assert rest == orders[0][2:]


def test_a_photo_that_would_stand_alone_in_a_batch_joins_the_one_before():
    photos = load(make_records(count=10), ("chow", "pug"), Preprocessing(resize=16, crop=16))
    assert [len(labels) for _, labels in photos.batches(Recipe(batch_size=19), 0)] == [20]
    assert photos.steps(19) == 1
    assert photos.steps(1) == 20
