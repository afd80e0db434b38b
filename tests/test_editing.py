"""A dataset is never changed: relabelled photos and those left out make its next version."""

from pathlib import Path

import pytest
from django.test import Client
from django.urls import reverse

from classifier.sources.listing import SourceError
from tests.photos import write_photos
from trainer import tasks
from trainer.models import Dataset, Photo

pytestmark = pytest.mark.django_db


@pytest.fixture
def dataset(settings, tmp_path: Path, monkeypatch) -> Dataset:
    """Two labels of 20 photos, imported; one photo of a chow lies among the pugs too."""
    settings.DATASETS_DIR = tmp_path / "data" / "datasets"
    settings.UPLOADS_DIR = tmp_path / "data" / "uploads"
    settings.CORES = 1
    monkeypatch.setattr(Dataset, "ring", lambda: True)
    photos = write_photos(tmp_path / "photos", count=20)
    (photos / "pug" / "again.png").write_bytes((photos / "chow" / "3.png").read_bytes())
    Dataset.objects.enqueue("dogs", photos, source_kind="server", source_name="photos")
    tasks.import_datasets()
    return Dataset.objects.get()


def photo(dataset: Dataset, name: str) -> Photo:
    return dataset.photos.get(name=name)


def facts(dataset: Dataset) -> set[tuple[object, ...]]:
    return set(dataset.photos.values_list("name", "label", "part", "excluded", "flag", "sha256"))


def edited(dataset: Dataset, changes: dict[str, dict[str, object]]) -> Dataset:
    new = dataset.edit({photo(dataset, name).pk: change for name, change in changes.items()})
    tasks.import_datasets()
    new.refresh_from_db()
    return new


def test_a_change_makes_the_next_version_and_leaves_this_one(dataset):
    before, fingerprint = facts(dataset), dataset.fingerprint
    new = edited(dataset, {"chow/0.png": {"label": "pug"}, "chow/1.png": {"excluded": True}})
    assert (new.status, str(new), new.parent) == ("ready", "dogs:2", dataset)
    dataset.refresh_from_db()
    assert (facts(dataset), dataset.fingerprint) == (before, fingerprint)
    assert new.fingerprint != fingerprint
    assert photo(new, "chow/0.png").label == "pug" and photo(new, "chow/1.png").excluded
    changed = facts(new) - before
    assert {row[0] for row in changed} == {"chow/0.png", "chow/1.png"}
    assert sum(new.counts.values()) == sum(dataset.counts.values()) - 1 == new.photos.count() - 1
    assert new.counts == new.count_photos()
    assert "dogs:1 with 2 photos relabelled or left out." in new.report["layout"]


def test_every_photo_keeps_its_part_and_its_file(dataset):
    new = edited(dataset, {"chow/0.png": {"label": "pug"}})
    assert dict(new.photos.values_list("name", "part")) == dict(dataset.photos.values_list("name", "part"))
    for part in ("train", "validation", "test"):
        assert {record.read() for record in new.records(part)} == {record.read() for record in dataset.records(part)}
    file = photo(new, "chow/5.png").file(new.path)
    assert file.stat().st_ino == photo(dataset, "chow/5.png").file(dataset.path).stat().st_ino


def test_what_was_left_out_can_be_taken_in_again(dataset):
    without = edited(dataset, {"chow/1.png": {"excluded": True}})
    again = edited(without, {"chow/1.png": {"excluded": False}})
    assert again.fingerprint == dataset.fingerprint and again.number == 3


def test_a_conflict_that_is_mended_is_no_longer_told(dataset):
    assert dataset.report["conflicts"]["count"] == 1 and photo(dataset, "pug/again.png").flag == "conflict"
    new = edited(dataset, {"pug/again.png": {"label": "chow"}})
    assert new.report["conflicts"]["count"] == 0
    assert photo(new, "pug/again.png").flag == "copy"


def test_changes_that_leave_a_label_without_photos_of_a_part_are_refused(dataset):
    tests = dataset.photos.filter(part="test", label="chow").values_list("name", flat=True)
    new = edited(dataset, {name: {"excluded": True} for name in tests})
    assert (new.status, new.photos.count()) == ("refused", 0)
    assert "The label 'chow' has no photo for test any more." in new.failure


def test_a_label_that_had_no_photo_of_a_part_before_keeps_nobody_from_editing(dataset):
    dataset.photos.filter(part="test", label="chow").update(part="train")
    new = edited(dataset, {"chow/0.png": {"excluded": True}})
    assert new.status == "ready", new.failure
    assert "1 label, 'chow', has no photo for test: no figure measured there tells of that." in new.report["warnings"]


def test_a_new_label_needs_a_photo_to_train(dataset):
    names = dataset.photos.filter(part="train", label="chow", flag="").values_list("name", flat=True)[:3]
    moved = list(names)
    dataset.photos.filter(name__in=moved).update(part="test")
    new = edited(dataset, {name: {"label": "husky"} for name in moved})
    assert new.failure.startswith("The label 'husky' has no photo for train. Import the photos anew")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [({"label": " "}, "is not a name"), ({"part": "test"}, "A change names"), ({}, "A change names")],
)
def test_other_changes_are_refused(dataset, change, sentence):
    with pytest.raises(SourceError, match=sentence):
        dataset.edit({photo(dataset, "chow/0.png").pk: change})
    assert Dataset.objects.count() == 1


def test_photos_of_another_dataset_are_refused(dataset):
    for changes in ({}, {10**9: {"excluded": True}}):
        with pytest.raises(SourceError, match="These are not photos of dogs:1"):
            dataset.edit(changes)


# --- the address


def post(client: Client, dataset: Dataset, body: object):
    address = reverse("admin:trainer_dataset_edit", args=[dataset.pk])
    return client.post(address, body, content_type="application/json", headers={"Accept": "application/json"})


def test_the_admin_saves_changes_as_the_next_version(admin_client, dataset):
    answer = post(admin_client, dataset, {"changes": {photo(dataset, "chow/0.png").pk: {"excluded": True}}})
    new = Dataset.objects.get(number=2)
    assert answer.json() == {"address": reverse("admin:trainer_dataset_change", args=[new.pk])}
    assert (new.status, new.created_by.username) == ("queued", "admin")


@pytest.mark.parametrize(
    "body",
    [
        "",
        "[]",
        {"changes": []},
        {"changes": {"x": {}}},
        {"changes": {"1": 2}},
        {},
        {"changes": {"9" * 30: {"excluded": True}}},
    ],
)
def test_what_is_no_change_is_malformed(admin_client, dataset, body):
    assert post(admin_client, dataset, body).status_code == 400
    assert Dataset.objects.count() == 1


def test_a_dataset_that_is_not_ready_is_not_edited(admin_client, dataset):
    pk = photo(dataset, "chow/0.png").pk
    Dataset.objects.update(status="cancelled")
    answer = post(admin_client, dataset, {"changes": {pk: {"excluded": True}}})
    assert (answer.status_code, answer.json()["detail"]) == (400, "dogs:1 is cancelled: there is nothing to change.")
