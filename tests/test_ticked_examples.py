"""Photos of a dataset that an administrator ticks are on the front page while a version trained on it answers."""

import io
import json
import re

import pytest
from django.apps import apps
from django.db import OperationalError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from PIL import Image

from classifier import examples
from classifier.models import ModelVersion
from classifier.sources.listing import SourceError
from tests.artifacts import make_artifact
from tests.squares import make_dataset, make_run
from tests.test_admin_photos import assert_index_finds
from trainer.models import Dataset, Photo, TrainingRun


@pytest.fixture
def dataset(settings, tmp_path, active_version) -> Dataset:
    """The one that the active version was trained on."""
    settings.DATASETS_DIR = tmp_path / "datasets"
    dataset = make_dataset()
    run = make_run(dataset)
    TrainingRun.objects.filter(pk=run.pk).update(version=active_version)
    return dataset


def tick(dataset: Dataset, *names: str) -> None:
    for name in names:
        dataset.show(dataset.photos.get(name=name).pk, True)


def look() -> None:
    """What the watching thread does every second."""
    apps.get_app_config("classifier").start().step()


def addresses(client: Client) -> list[str]:
    return re.findall(r'src="(/examples/[0-9a-f]{16}\.jpg)"', client.get("/").text)


def test_ticked_photos_appear_without_a_question_to_the_database(client, dataset, django_assert_num_queries):
    assert addresses(client) == []
    tick(dataset, "chow/3.png", "pug/4.png")
    look()
    with django_assert_num_queries(0):
        shown = addresses(client)
        picture = client.get(shown[1])
        answer = client.post("/", {"example": shown[1].split("/")[2].removesuffix(".jpg")})
    assert len(shown) == 2 and 'class="result' in answer.text
    assert picture.headers["Content-Type"] == "image/jpeg" and Image.open(io.BytesIO(picture.content)).size == (32, 32)
    assert picture.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"


def test_what_is_no_longer_ticked_goes(client, dataset):
    tick(dataset, "chow/3.png", "pug/4.png")
    look()
    gone, stays = addresses(client)
    dataset.show(dataset.photos.get(name="chow/3.png").pk, False)
    look()
    assert addresses(client) == [stays]
    assert client.get(gone).status_code == 404


def test_another_version_brings_the_photos_of_its_own_dataset(client, dataset, tmp_path):
    tick(dataset, "chow/3.png")
    other = make_dataset("others", count=12)
    tick(other, "pug/10.png", "pug/11.png")
    look()
    before = addresses(client)
    assert len(before) == 1
    version = ModelVersion.objects.install(make_artifact(tmp_path / "another", seed=1))
    run = make_run(other)
    TrainingRun.objects.filter(pk=run.pk).update(version=version)
    version.activate()
    assert addresses(client) == before, "until this process has loaded it"
    look()
    assert len(addresses(client)) == 2 and not set(before) & set(addresses(client))


def test_a_version_that_cannot_be_loaded_leaves_the_pictures_of_the_one_that_answers(client, dataset, tmp_path):
    tick(dataset, "chow/3.png")
    version = ModelVersion.objects.install(make_artifact(tmp_path / "another", seed=1))
    version.activate()
    (version.path / "model.onnx").write_bytes(b"")
    look()
    assert len(addresses(client)) == 1


def test_a_version_of_no_dataset_has_no_examples_but_the_operators(client, active_version, settings, tmp_path):
    look()
    assert addresses(client) == []


def test_the_operators_pictures_come_first_and_all_together_are_bounded(client, dataset, settings, tmp_path):
    settings.EXAMPLES_DIR = tmp_path
    file = dataset.photos.get(name="samoyed/1.png").file(dataset.path)
    (tmp_path / "own.png").write_bytes(file.read_bytes())
    tick(dataset, *(f"chow/{number}.png" for number in range(10)), "pug/0.png", "pug/1.png")
    look()
    shown = addresses(client)
    assert len(shown) == len(set(shown)) == examples.MOST
    assert shown[0] == f"/examples/{next(iter(examples.gather(examples.from_folder(tmp_path))))}.jpg"


def test_at_most_so_many_of_a_dataset_are_ticked(dataset):
    pks = list(dataset.photos.values_list("pk", flat=True))
    for pk in pks[: examples.MOST] * 2:  # twice is once
        dataset.show(pk, True)
    with pytest.raises(SourceError, match="squares:1 has 12 examples already"):
        dataset.show(pks[examples.MOST], True)
    dataset.show(pks[0], False)
    dataset.show(pks[examples.MOST], True)
    assert dataset.photos.examples().count() == examples.MOST


def test_it_changes_nothing_that_is_trained(dataset):
    before = Dataset.objects.values().get(), {part: [r.name for r in dataset.records(part)] for part in dataset.counts}
    tick(dataset, "chow/3.png")
    dataset.refresh_from_db()
    after = Dataset.objects.values().get(), {part: [r.name for r in dataset.records(part)] for part in dataset.counts}
    assert before == after


def test_a_photo_that_changed_on_the_disk_is_left_out_and_said_once(client, dataset, caplog):
    tick(dataset, "chow/5.png", "pug/5.png")
    file = dataset.photos.get(name="pug/5.png").file(dataset.path)
    file.write_bytes(file.read_bytes() + b"more")
    for _ in range(3):
        look()
        assert len(addresses(client)) == 1
    assert caplog.text.count("The photo pug/5.png has changed since it was imported") == 1


def test_they_stay_while_the_database_is_away(client, dataset, monkeypatch, caplog):
    tick(dataset, "chow/3.png")
    look()

    def away(digest: str) -> list[examples.Example]:
        raise OperationalError("connection refused")

    with monkeypatch.context() as patch:
        patch.setattr(examples, "sources", [away])
        for _ in range(3):
            look()
        assert len(addresses(client)) == 1
    assert caplog.text.count("The example pictures cannot be looked up") == 1
    dataset.photos.update(example=False)
    look()
    assert addresses(client) == []


def test_each_look_costs_one_question_that_an_index_answers(dataset, active_version):
    with CaptureQueriesContext(connection) as queries:
        list(Photo.objects.examples_of(active_version.digest))
    assert len(queries) == 1
    assert_index_finds(queries[0]["sql"], sorts=True)


def test_the_next_version_of_a_dataset_keeps_them_but_for_those_left_out(dataset, monkeypatch):
    from trainer import tasks

    monkeypatch.setattr(Dataset, "ring", lambda: True)
    tick(dataset, "chow/3.png", "pug/4.png")
    new = dataset.edit({dataset.photos.get(name="pug/4.png").pk: {"excluded": True}})
    tasks.import_datasets()
    new.refresh_from_db()
    assert (new.status, list(new.photos.examples().values_list("name", flat=True))) == ("ready", ["chow/3.png"])
    with pytest.raises(SourceError, match="is left out of squares:2"):
        tick(new, "pug/4.png")


# --- the button


def post(client: Client, dataset: Dataset, body: str):
    address = reverse("admin:trainer_dataset_examples", args=[dataset.pk])
    return client.post(address, body, content_type="application/json", headers={"accept": "application/json"})


def test_the_button_says_how_many_there_are(admin_client, dataset):
    pk = dataset.photos.get(name="pug/4.png").pk
    assert post(admin_client, dataset, json.dumps({"photo": pk, "shown": True})).json() == {"examples": 1}
    grid = admin_client.get(reverse("admin:trainer_dataset_photos", args=[dataset.pk])).text
    assert grid.count('aria-pressed="true"') == 1 and "1 of at most 12 are chosen." in grid
    only = admin_client.get(reverse("admin:trainer_dataset_photos", args=[dataset.pk]) + "?flag=example").text
    assert re.findall(r'alt="([^"]+)"', only) == ["pug/4.png"]
    assert post(admin_client, dataset, json.dumps({"photo": pk, "shown": False})).json() == {"examples": 0}


def test_one_too_many_is_refused_with_a_sentence(admin_client, dataset):
    tick(dataset, *dataset.photos.values_list("name", flat=True)[: examples.MOST])
    answer = post(admin_client, dataset, json.dumps({"photo": dataset.photos.latest("pk").pk, "shown": True}))
    assert answer.status_code == 400 and "take one of them away first" in answer.json()["detail"]


@pytest.mark.parametrize("body", ["", "[]", "{}", '{"photo": "x", "shown": true}', '{"photo": 1e999, "shown": true}'])
def test_what_is_no_question_is_malformed(admin_client, dataset, body):
    assert post(admin_client, dataset, body).status_code == 400


@pytest.mark.parametrize("photo", [0, -1, 10**30])
def test_the_photo_of_another_dataset_is_not_found(admin_client, dataset, photo):
    assert post(admin_client, dataset, json.dumps({"photo": photo, "shown": True})).status_code == 404
    other = make_dataset("others")
    foreign = other.photos.latest("pk").pk
    assert post(admin_client, dataset, json.dumps({"photo": foreign, "shown": True})).status_code == 404
    assert not other.photos.examples().exists()
