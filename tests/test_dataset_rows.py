"""Datasets as rows: their numbers, their names, and photos that are read only as they were imported."""

import hashlib

import pytest

from classifier.sources.listing import SourceError
from tests.photos import draw, encoded
from trainer.models import Dataset, Photo

pytestmark = pytest.mark.django_db


@pytest.fixture
def dataset(settings, tmp_path) -> Dataset:
    """Three ready photos, one a part."""
    settings.DATASETS_DIR = tmp_path
    dataset = Dataset.objects.create(name="dogs", number=1, status="ready", folder="1-a", labels=["pug"])
    for number, part in enumerate(("train", "validation", "test")):
        data = encoded(draw(0, number))
        digest = hashlib.sha256(data).hexdigest()
        photo = Photo.objects.create(
            dataset=dataset, label="pug", part=part, sha256=digest, suffix=".png", pixels=digest, phash="0" * 16,
            group=number, name=f"pug/{number}.png", bytes=len(data), width=32, height=32,
        )  # fmt: skip
        photo.file(dataset.path).parent.mkdir(parents=True, exist_ok=True)
        photo.file(dataset.path).write_bytes(data)
    return dataset


def test_each_import_of_a_name_gets_the_next_number(tmp_path):
    made = [Dataset.objects.enqueue(name, tmp_path, source_kind="server") for name in ("dogs", "cats", "dogs")]
    assert [str(dataset) for dataset in made] == ["dogs:1", "cats:1", "dogs:2"]
    assert [dataset.status for dataset in made] == ["queued"] * 3


def test_a_worker_is_rung_for_after_the_commit(tmp_path, django_capture_on_commit_callbacks, monkeypatch):
    bells = []
    monkeypatch.setattr(Dataset, "ring", lambda: bells.append(1))
    with django_capture_on_commit_callbacks(execute=True):
        Dataset.objects.enqueue("dogs", tmp_path, source_kind="server")
        assert bells == []
    assert bells == [1]


def test_a_dataset_is_named_by_its_name_or_its_number(dataset):
    second = Dataset.objects.create(name="dogs", number=2, status="ready")
    Dataset.objects.create(name="dogs", number=3, status="importing")
    assert Dataset.objects.named("dogs") == second
    assert Dataset.objects.named("dogs:1") == dataset
    for name in ("dogs:3", "cats", "dogs:x", "dogs:" + "9" * 30):
        with pytest.raises(Dataset.DoesNotExist, match=r"Ready: dogs:1, dogs:2\."):
            Dataset.objects.named(name)


def test_the_photos_of_a_part_are_read_as_they_were_imported(dataset):
    (record,) = dataset.records("validation")
    assert (record.name, record.label, record.part) == ("pug/1.png", "pug", "validation")
    assert record.read() == encoded(draw(0, 1))


def test_a_photo_that_changed_or_went_is_named(dataset):
    first, second = dataset.photos.filter(part__in=("train", "test"))
    first.file(dataset.path).write_bytes(encoded(draw(0, 9)))
    second.file(dataset.path).unlink()
    with pytest.raises(SourceError, match=r"pug/0\.png has changed since it was imported"):
        next(dataset.records("train")).read()
    with pytest.raises(SourceError, match=r"pug/2\.png is gone"):
        next(dataset.records("test")).read()


def test_an_excluded_photo_is_neither_read_nor_counted(dataset):
    dataset.photos.filter(part="train").update(excluded=True)
    assert list(dataset.records("train")) == []
    assert dataset.count_photos() == {"train": 0, "validation": 1, "test": 1}


@pytest.mark.parametrize("status", Dataset.Status)
def test_a_status_is_active_or_terminal(status):
    assert (status in Dataset.ACTIVE) != (status in Dataset.TERMINAL)
