"""Datasets in the admin: photos come in by pieces or from the server, the import is watched, the report is read."""

import csv
import io
from pathlib import Path
from uuid import uuid4

import pytest
from django.contrib.auth.models import Permission, User
from django.db.models import ProtectedError
from django.test import Client
from django.urls import reverse

from breedsite.models import Worker
from classifier import uploads
from classifier.uploads import PIECE_BYTES
from tests.archives import photos, write_zip
from tests.photos import write_photos
from trainer import tasks
from trainer.admin import report
from trainer.models import Dataset, Photo, TrainingRun
from trainer.recipe import Recipe

LIST = reverse("admin:trainer_dataset_changelist")
ADD = reverse("admin:trainer_dataset_add")
pytestmark = pytest.mark.django_db


def page(name: str, dataset: Dataset) -> str:
    return reverse(f"admin:trainer_dataset_{name}", args=[dataset.pk])


@pytest.fixture(autouse=True)
def place(settings, tmp_path, monkeypatch) -> Path:
    settings.DATASETS_DIR = tmp_path / "data" / "datasets"
    settings.UPLOADS_DIR = tmp_path / "data" / "uploads"
    settings.DATASETS_SOURCE_DIRS = [tmp_path / "sources"]
    settings.DATASETS_SOURCE_DIRS[0].mkdir()
    settings.CORES = 1
    monkeypatch.setattr(Dataset, "ring", lambda: True)
    return tmp_path


@pytest.fixture
def form() -> dict[str, object]:
    return {"name": "dogs", "upload": str(uuid4()), "train": 0.8, "validation": 0.1, "test": 0.1, "seed": 1}


@pytest.fixture
def archive(place) -> bytes:
    return write_zip(place / "a.zip", photos(count=6)).read_bytes()


def piece(client: Client, key: object, data: bytes, offset: int, total: int):
    url = reverse("admin:trainer_dataset_upload", args=[key]) + f"?offset={offset}&total={total}"
    return client.post(url, data, content_type="application/octet-stream", headers={"Accept": "application/json"})


def test_a_zip_comes_in_pieces_and_becomes_a_dataset(admin_client, form, archive, settings):
    half = len(archive) // 2
    assert piece(admin_client, form["upload"], archive[:half], 0, len(archive)).json() == {"received": half}
    assert piece(admin_client, form["upload"], archive[half:], half, len(archive)).json() == {"received": len(archive)}
    answer = admin_client.post(ADD, form | {"upload_name": "my dogs.zip"})
    dataset = Dataset.objects.get()
    assert (answer.status_code, answer.url) == (302, page("change", dataset))
    assert (dataset.status, dataset.source_kind, dataset.source_name) == ("queued", "upload", "my dogs.zip")
    assert dataset.created_by.username == "admin"
    tasks.import_datasets()
    dataset.refresh_from_db()
    assert dataset.status == "ready"
    assert list(settings.UPLOADS_DIR.iterdir()) == []


def test_a_broken_upload_goes_on_where_it_stopped(admin_client, form, archive):
    piece(admin_client, form["upload"], archive[:100], 0, len(archive))
    answer = piece(admin_client, form["upload"], archive[:100], 0, len(archive))
    assert (answer.status_code, answer.json()) == (409, {"received": 100})
    url = reverse("admin:trainer_dataset_upload", args=[form["upload"]])
    assert admin_client.get(url).json() == {"received": 100}
    assert piece(admin_client, form["upload"], archive[100:], 100, len(archive)).status_code == 200


@pytest.mark.parametrize(
    ("data", "offset", "total", "code"),
    [
        (b"\xff\xd8\xff a photo", 0, 100, "unsupported_format"),
        (b"PK\x03\x04", 0, 3 * 1024**3, "file_too_large"),
        (b"PK\x03\x04", 0, 3, "file_too_large"),
        (b"PK\x03\x04", 0, 0, "file_too_large"),
    ],
)
def test_a_piece_that_leads_nowhere_is_refused_at_once(admin_client, form, settings, data, offset, total, code):
    answer = piece(admin_client, form["upload"], data, offset, total)
    assert answer.json()["code"] == code
    assert not settings.UPLOADS_DIR.exists() or list(settings.UPLOADS_DIR.iterdir()) == []


@pytest.mark.parametrize("query", ["", "?offset=-1&total=9", "?offset=x&total=9", "?offset=1e3&total=9"])
def test_a_piece_without_its_place_is_malformed(admin_client, form, query):
    url = reverse("admin:trainer_dataset_upload", args=[form["upload"]])
    assert admin_client.post(url + query, b"PK\x03\x04", content_type="application/octet-stream").status_code == 400


def test_a_full_disk_is_said_before_the_file_is_sent(admin_client, form, monkeypatch):
    monkeypatch.setattr(uploads.shutil, "disk_usage", lambda place: type("Usage", (), {"free": 100}))
    answer = piece(admin_client, form["upload"], b"PK\x03\x04", 0, 1000)
    assert (answer.status_code, answer.json()["code"]) == (503, "storage_full")


def test_an_upload_belongs_to_who_sent_it(admin_client, form, archive):
    piece(admin_client, form["upload"], archive, 0, len(archive))
    other = Client()
    other.force_login(User.objects.create_superuser("other"))
    assert other.get(reverse("admin:trainer_dataset_upload", args=[form["upload"]])).json() == {"received": 0}
    answer = other.post(ADD, form | {"upload_name": "dogs.zip"})
    assert "The zip has not arrived: choose it again." in answer.text
    assert not Dataset.objects.exists()


def test_a_piece_is_no_larger_than_any_other_form():
    from classifier.gate import OTHER_BODY_BYTES

    assert PIECE_BYTES <= OTHER_BODY_BYTES


def test_a_folder_on_the_server_is_chosen_from_a_list(admin_client, form, place):
    source = write_photos(place / "sources" / "dogs", count=6)
    write_photos(place / "elsewhere", count=6)
    (place / "sources" / "linked").symlink_to(place / "elsewhere")
    text = admin_client.get(ADD).text
    assert "sources/dogs" in text and "elsewhere" not in text and "linked" not in text
    admin_client.post(ADD, form | {"server": str(source), "seed": 7, "train": 0.6, "validation": 0.2, "test": 0.2})
    dataset = Dataset.objects.get()
    assert (dataset.source_kind, dataset.source_path) == ("server", str(source))
    assert dataset.options == {"seed": 7, "fractions": [0.6, 0.2, 0.2], "rename": {}}


def test_a_folder_of_sources_that_is_gone_is_no_error(admin_client, place, settings):
    settings.DATASETS_SOURCE_DIRS = [place / "nowhere"]
    assert admin_client.get(ADD).status_code == 200


@pytest.mark.parametrize("path", ["/etc", "sources/../elsewhere", "..", "sources/linked"])
def test_nothing_else_on_the_server_can_be_named(admin_client, form, place, path):
    write_photos(place / "elsewhere", count=1)
    (place / "sources" / "linked").symlink_to(place / "elsewhere")
    path = str(place / path) if not path.startswith("/") else path
    assert "Select a valid choice" in admin_client.post(ADD, form | {"server": path}).text
    assert not Dataset.objects.exists()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"name": "My Dogs"}, "Use small letters"),
        ({"train": 0.9}, "The three shares must sum to 1."),
        ({}, "Choose a zip to send, a folder or zip on the server, or a set that everybody knows."),
        ({"upload": "../../x"}, "Enter a valid UUID"),
        ({"seed": -1}, "greater than or equal to 0"),
    ],
)
def test_a_mistake_in_the_form_is_said(admin_client, form, changes, sentence):
    answer = admin_client.post(ADD, form | changes)
    assert answer.status_code == 200
    if "upload" not in changes:
        assert sentence in answer.text
    assert not Dataset.objects.exists()


def test_a_table_of_other_names_is_read(admin_client, form, place, tmp_path):
    source = write_photos(place / "sources" / "dogs", ("cane", "gatto"), count=6)
    (tmp_path / "names.csv").write_text("cane,dog\ngatto,cat\n")
    with (tmp_path / "names.csv").open("rb") as table:
        admin_client.post(ADD, form | {"server": str(source), "rename": table})
    tasks.import_datasets()
    assert Dataset.objects.get().labels == ["cat", "dog"]


def test_the_list_and_the_page_tell_how_far_it_is(admin_client, place, monkeypatch):
    monkeypatch.setattr("breedsite.waiting.queue_state", lambda: "ok")
    first, second = (
        Dataset.objects.enqueue(name, place, source_kind="server", source_name="x") for name in ("dogs", "cats")
    )
    assert "number 2 in the queue" in admin_client.get(LIST).text
    nobody = "Number 1 in the queue, but no worker is running: it begins when one is started."
    assert nobody in admin_client.get(page("change", first)).text
    assert admin_client.get(page("progress", first)).json()["waiting"] == nobody
    Worker.objects.beat()
    assert "Number 1 in the queue." in admin_client.get(page("change", first)).text
    claimed = Dataset.objects.claim_next()
    claimed.beat(progress_done=30, progress_total=120)
    assert "30 of 120 photos" in admin_client.get(LIST).text
    state = {
        "status": "importing",
        "active": True,
        "place": None,
        "waiting": "",
        "done": 30,
        "total": 120,
        "downloaded": 0,
    }
    assert admin_client.get(page("progress", first)).json() == state
    assert admin_client.get(page("progress", second)).json()["place"] == 1


def test_an_import_is_cancelled_by_a_button(admin_client, place):
    dataset = Dataset.objects.enqueue("dogs", place, source_kind="server", source_name="x")
    assert f'action="{page("cancel", dataset)}"' in admin_client.get(page("change", dataset)).text
    assert admin_client.get(page("cancel", dataset)).status_code == 405
    text = admin_client.post(page("cancel", dataset), follow=True).text
    assert "The import of dogs:1 is being cancelled." in text
    dataset.refresh_from_db()
    assert dataset.status == "cancelled"
    again = admin_client.post(page("cancel", dataset), follow=True).text
    assert "The import of dogs:1 has ended already: it is cancelled." in again and "Cancel the import" not in again


def test_a_cancelled_upload_does_not_stay_on_the_disk(admin_client, form, archive, settings):
    piece(admin_client, form["upload"], archive, 0, len(archive))
    admin_client.post(ADD, form | {"upload_name": "dogs.zip"})
    admin_client.post(page("cancel", Dataset.objects.get()))
    assert list(settings.UPLOADS_DIR.iterdir()) == []


def test_the_page_shows_the_report(admin_client, place, form):
    evil = "<script>alert(1)<"
    source = write_photos(place / "sources" / "dogs", ("chow", "pug", evil), count=60)
    (source / "pug" / "again.png").write_bytes((source / "chow" / "3.png").read_bytes())
    (source / "pug" / "broken.png").write_bytes(b"GIF89a")
    (source / "pug" / "moving.gif").write_bytes(b"GIF89a")
    admin_client.post(ADD, form | {"server": str(source)})
    tasks.import_datasets()
    dataset = Dataset.objects.get()
    text = admin_client.get(page("change", dataset)).text
    for words in (
        "Class folders: each folder is named by its label.",
        "Divided 80/10/10 by content and seed 1",
        "181 photos",
        "1 photo cannot be read and is left out.",
        "1 picture is there under two labels or more.",
        "chow/3.png (chow) · pug/again.png (pug)",
        "pug/broken.png: ",
        "Not read (1)",
        "<li>pug/moving.gif</li>",
        dataset.fingerprint,
        '<th scope="row">chow</th><td>60</td>',
    ):
        assert words in text, words
    assert "<script>alert" not in text and "&lt;script&gt;alert(1)" in text


def test_the_report_and_the_photos_are_taken_along_as_files(admin_client, place, form, monkeypatch):
    monkeypatch.setattr(report, "BLOCK", 3)
    source = write_photos(place / "sources" / "dogs", ("=1+1", "pug"), count=5)
    admin_client.post(ADD, form | {"server": str(source)})
    tasks.import_datasets()
    dataset = Dataset.objects.get()
    text = admin_client.get(page("change", dataset)).text
    assert page("json", dataset) in text and page("csv", dataset) in text
    answer = admin_client.get(page("json", dataset))
    assert answer.headers["Content-Disposition"] == 'attachment; filename="dogs-1.json"'
    told = answer.json()
    assert (told["dataset"], told["labels"], told["counts"]) == ("dogs:1", ["=1+1", "pug"], dataset.counts)
    assert (told["report"], told["fingerprint"]) == (dataset.report, dataset.fingerprint)
    answer = admin_client.get(page("csv", dataset))
    assert answer.streaming and answer.headers["Content-Disposition"] == 'attachment; filename="dogs-1-photos.csv"'
    first, *rows = csv.DictReader(io.StringIO(answer.getvalue().decode()))
    photo = dataset.photos.get(name="=1+1/0.png")
    assert (first["name"], first["label"], first["part"]) == ("'=1+1/0.png", "'=1+1", photo.part)
    assert (first["flag"], first["excluded"], first["sha256"]) == ("", "False", photo.sha256)
    assert len(rows) == 9


def test_a_refused_dataset_says_what_to_mend(admin_client, place, form):
    source = write_photos(place / "sources" / "dogs", count=2)
    admin_client.post(ADD, form | {"server": str(source)})
    tasks.import_datasets()
    text = admin_client.get(page("change", Dataset.objects.get())).text
    sentence = "The label &#x27;chow&#x27; has 2 distinct photos (2 files): at least 3 are needed"
    assert "It was refused: " in text and text.count(sentence) == 2


@pytest.mark.parametrize(("permission", "sees", "imports"), [("", 403, 403), ("view", 200, 403), ("add", 200, 200)])
def test_importing_needs_its_permission(place, permission, sees, imports):
    dataset = Dataset.objects.enqueue("dogs", place, source_kind="server", source_name="x")
    user = User.objects.create_user("staff", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename=f"{permission}_dataset"))
    client = Client()
    client.force_login(user)
    for name in ("change", "progress"):
        assert client.get(page(name, dataset)).status_code == sees
    assert client.get(ADD).status_code == imports
    assert piece(client, uuid4(), b"PK\x03\x04", 0, 9).status_code == imports
    assert client.post(page("cancel", dataset)).status_code == (302 if imports == 200 else 403)


def test_nothing_can_be_changed(admin_client, place):
    dataset = Dataset.objects.enqueue("dogs", place, source_kind="server", source_name="x")
    assert admin_client.post(page("change", dataset), {"name": "cats"}).status_code == 403
    assert Dataset.objects.get().name == "dogs"


@pytest.fixture
def ready(place) -> Dataset:
    source = write_photos(place / "sources" / "dogs", count=6)
    Dataset.objects.enqueue("dogs", source, source_kind="server", source_name="x")
    tasks.import_datasets()
    return Dataset.objects.get()


def test_a_dataset_that_nothing_was_made_of_is_deleted_with_its_files(
    admin_client, ready, django_capture_on_commit_callbacks
):
    folder = ready.path
    asked = admin_client.get(page("delete", ready)).text
    assert "Photos: 12" in asked and "chow/0.png" not in asked
    with django_capture_on_commit_callbacks(execute=True):
        assert admin_client.post(page("delete", ready), {"post": "yes"}).status_code == 302
    assert not Dataset.objects.exists() and not Photo.objects.exists() and not folder.exists()


def run_on(dataset: Dataset) -> None:
    TrainingRun.objects.create(dataset=dataset, name="dogs", recipe=Recipe().as_dict())


def edit(dataset: Dataset) -> None:
    dataset.edit({dataset.photos.earliest("pk").pk: {"excluded": True}})


def import_anew(dataset: Dataset) -> None:
    Dataset.objects.filter(pk=dataset.pk).update(status="importing")


@pytest.mark.parametrize("use", [run_on, edit, import_anew])
def test_a_dataset_that_is_needed_stays(admin_client, ready, use):
    use(ready)
    assert admin_client.post(page("delete", ready), {"post": "yes"}).status_code == 403
    assert Photo.objects.filter(dataset=ready).count() == 12 and ready.path.exists()


def test_a_used_dataset_is_not_deleted_past_the_admin_either(ready):
    run_on(ready)
    assert ready.used
    with pytest.raises(ProtectedError):
        ready.delete()
    assert ready.path.exists()
