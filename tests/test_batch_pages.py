"""The pages of batches without JavaScript: sent, watched, looked through, taken away."""

from __future__ import annotations

import io
import zipfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.utils import timezone
from PIL import Image

from classifier import tasks
from classifier.models import Batch, Chunk, ModelVersion, predicting, receiving
from classifier.views import batch as page_of_one
from classifier.views import batches as pages
from tests.artifacts import make_artifact
from tests.pages import link

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def place(settings, tmp_path, monkeypatch) -> Path:
    settings.BATCHES_DIR = tmp_path / "batches"
    settings.CORES = 1
    monkeypatch.setattr(Batch, "ring", staticmethod(lambda: True))
    monkeypatch.setattr(Chunk, "ring", staticmethod(lambda: True))
    predicting.loaded.cache_clear()
    page_of_one.reading.cache_clear()
    return tmp_path


@pytest.fixture
def ann(active_version) -> User:
    return User.objects.create_user("ann")


@pytest.fixture
def client(ann) -> Client:
    return signed_in(ann)


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def photos(make_picture) -> dict[str, bytes]:
    return {f"{number}.jpg": make_picture(number, (400, 300)) for number in range(5)} | {"notes.txt": b"not a photo"}


@pytest.fixture
def batch(ann, active_version, photos) -> Batch:
    """One that has ended."""
    batch = Batch.objects.begin([active_version], name="March", by=ann)
    receiving.receive(batch, list(photos.items()))
    receiving.start(batch)
    tasks.predict_batches()
    batch.refresh_from_db()
    return batch


def post(client: Client, files: dict[str, bytes], **fields: Any) -> Any:
    sent = [SimpleUploadedFile(name, data) for name, data in files.items()]
    return client.post("/batches/", {"files": sent} | fields)


def text(client: Client, path: str) -> str:
    response = client.get(path)
    assert response.status_code == 200, response.content
    return response.content.decode()


# --- sending ----------------------------------------------------------------------------------------------------------
def test_photos_are_sent_by_the_form_and_lead_to_their_page(client, photos):
    response = post(client, photos, name="March", combine="mean")
    made = Batch.objects.get()
    assert (response.status_code, response.headers["Location"]) == (302, f"/batches/{made.pk}/")
    assert (made.name, made.status, made.counts["refused"]) == ("March", "queued", 1)
    tasks.predict_batches()
    assert "5 answered, 1 cannot be used." in text(client, "/batches/")


def test_a_zip_is_sent_by_the_same_form(client, photos):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        for name, data in photos.items():
            made.writestr(name, data)
    post(client, {"march.zip": out.getvalue()})
    tasks.predict_batches()
    page = text(client, f"/batches/{Batch.objects.get().pk}/")
    assert "march.zip" in page and "5 answered, 1 cannot be used." in page


def test_what_is_refused_is_said_on_the_page_itself(client, photos):
    response = client.post("/batches/", {"name": "x"})
    assert response.status_code == 400 and "No photo was sent" in response.content.decode()
    assert '<form id="send"' in response.content.decode() and not Batch.objects.exists()


def test_versions_that_do_not_fit_are_refused_in_words(client, photos, tmp_path):
    ModelVersion.objects.install(make_artifact(tmp_path / "cats", labels=("cat", "dog"), name="cats"))
    page = text(client, "/batches/")
    assert page.count('class="family"') == 2 and 'value="tiny:1"' in page and 'value="cats:1"' in page
    response = post(client, photos, versions=["tiny:1", "cats:1"])
    assert response.status_code == 400 and "do not know the same labels" in response.content.decode()


def test_a_form_without_the_token_is_refused(ann, photos):
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(ann)
    assert post(browser, photos).status_code == 403 and not Batch.objects.exists()


def test_staff_chooses_a_folder_of_the_server_and_others_do_not(client, place, photos, settings):
    folder = place / "opened" / "march"
    folder.mkdir(parents=True)
    for name, data in photos.items():
        (folder / name).write_bytes(data)
    settings.DATASETS_SOURCE_DIRS = [place / "opened"]
    staff = signed_in(User.objects.create_user("staff", is_staff=True))
    assert "opened/march" in text(staff, "/batches/") and "opened/march" not in text(client, "/batches/")
    assert client.post("/batches/", {"server": str(folder)}).status_code == 403
    assert staff.post("/batches/", {"server": str(folder)}).status_code == 302
    tasks.predict_batches()
    made = Batch.objects.get()
    assert made.counts["answered"] == 5
    assert staff.get(f"/batches/{made.pk}/1/small.jpg").status_code == 200


def test_without_any_version_the_page_says_so(client):
    ModelVersion.objects.all().delete()
    assert "No version is installed" in text(client, "/batches/")


def test_a_damaged_version_is_left_out(client, active_version):
    ModelVersion.objects.update(spec=[])
    assert "No version is installed" in text(client, "/batches/")


# --- looking ----------------------------------------------------------------------------------------------------------
def test_the_grid_shows_each_photo_with_its_answer_or_its_reason(client, batch):
    page = text(client, f"/batches/{batch.pk}/")
    assert "March" in page and "tiny:1" in page and page.count('loading="lazy"') == 5
    assert "Unsupported format" in page and "notes.txt" in page
    for name in ("csv", "jsonl", "category", "probabilities"):
        assert f"/api/batches/{batch.pk}/results?format={name}" in page
    assert client.get(f"/api/batches/{batch.pk}/results?format=csv").status_code == 200


def test_it_is_filtered_by_state_code_and_label(client, batch):
    path, label = f"/batches/{batch.pk}/", batch.items.get(position=0).label
    numbers = lambda page: [n for n in range(1, 7) if f'href="/batches/{batch.pk}/{n}/"' in page]  # noqa: E731
    assert numbers(text(client, path)) == [1, 2, 3, 4, 5, 6]
    assert numbers(text(client, f"{path}?show=refused")) == [6]
    assert numbers(text(client, f"{path}?show=unsupported_format")) == [6]
    assert numbers(text(client, f"{path}?show=answered")) == [1, 2, 3, 4, 5]
    unsure = [item.position + 1 for item in batch.items.filter(sure=False)]
    assert numbers(text(client, f"{path}?show=unsure")) == unsure
    of_label = [item.position + 1 for item in batch.items.filter(label=label)]
    assert numbers(text(client, f"{path}?label={label}")) == of_label
    assert "No photo is like that." in text(client, f"{path}?label=%00nothing")
    assert client.get(f"{path}?after=x").status_code == 400


def test_it_is_paged_both_ways(client, batch, monkeypatch):
    monkeypatch.setattr(page_of_one, "GRID", 2)
    path = f"/batches/{batch.pk}/"
    first = text(client, path)
    second = text(client, path + link(first, "next"))
    third = text(client, path + link(second, "next"))
    assert not link(first, "prev") and not link(third, "next")
    assert f'href="/batches/{batch.pk}/5/"' in third and f'href="/batches/{batch.pk}/4/"' not in third
    back = text(client, path + link(third, "prev"))
    assert f'href="/batches/{batch.pk}/3/"' in back and f'href="/batches/{batch.pk}/5/"' not in back
    again = text(client, path + link(second, "prev"))
    assert f'href="/batches/{batch.pk}/1/"' in again and not link(again, "prev")


def test_a_photo_has_a_page_with_the_whole_answer(client, batch):
    page = text(client, f"/batches/{batch.pk}/2/")
    assert "<meter" in page and "All 5" in page and "1.jpg, photo 2" in page
    assert f"/batches/{batch.pk}/1/" in page and f"/batches/{batch.pk}/3/" in page
    last = text(client, f"/batches/{batch.pk}/6/")
    assert "Unsupported format." in last and "<meter" not in last and f"/batches/{batch.pk}/7/" not in last
    for place in (0, 7, 10**19):
        assert client.get(f"/batches/{batch.pk}/{place}/").status_code == 404


def test_pictures_are_fresh_copies_without_what_else_the_file_had(client, ann, active_version):
    out = io.BytesIO()
    exif = Image.Exif()
    exif[0x010E] = "a secret place"
    Image.new("RGB", (900, 600), "teal").save(out, "JPEG", exif=exif)
    made = Batch.objects.begin([active_version], by=ann)
    receiving.receive(made, [("<script>.html", out.getvalue() + b"<script>alert(1)</script>")])
    response = client.get(f"/batches/{made.pk}/1/small.jpg")
    assert response.headers["Content-Type"] == "image/jpeg" and response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
    assert "private" in response.headers["Cache-Control"]
    assert b"secret" not in response.content and b"script" not in response.content
    assert max(Image.open(io.BytesIO(response.content)).size) == 320
    assert client.get(f"/batches/{made.pk}/1/huge.jpg").status_code == 404
    assert "<script>.html" not in text(client, f"/batches/{made.pk}/")


def test_after_their_days_the_photos_are_gone_and_the_answers_stay(client, batch):
    Batch.objects.filter(pk=batch.pk).update(finished_at=timezone.now() - timedelta(days=8))
    Batch.tidy()
    page = text(client, f"/batches/{batch.pk}/")
    assert "The photos were removed on" in page and '<img src="/batches/' not in page and "5 answered" in page
    assert client.get(f"/batches/{batch.pk}/1/small.jpg").status_code == 404
    assert "The photo itself was removed." in text(client, f"/batches/{batch.pk}/1/")


# --- doing ------------------------------------------------------------------------------------------------------------
def test_a_batch_is_stopped_gone_on_with_and_deleted_by_buttons(client, photos):
    post(client, photos)
    made = Batch.objects.get()
    path = f"/batches/{made.pk}/"
    assert "Stop" in text(client, path) and client.post(f"{path}do/stop/").headers["Location"] == path
    assert "Stopped: 0 of 6 photos answered, 1 cannot be used." in text(client, path)
    assert client.post(f"{path}do/resume/").status_code == 302
    tasks.predict_batches()
    assert client.post(f"{path}do/resume/").status_code == 409
    assert client.post(f"{path}do/nothing/").status_code == 404 and client.get(f"{path}do/delete/").status_code == 405
    assert client.post(f"{path}do/delete/").headers["Location"] == "/batches/"
    assert not Batch.objects.exists() and client.get(path).status_code == 404


def test_an_open_batch_can_be_begun_with_what_came(client, ann, active_version, photos):
    made = Batch.objects.begin([active_version], by=ann)
    path = f"/batches/{made.pk}/"
    assert "Waiting for photos." in text(client, path) and "Begin with" not in text(client, path)
    assert client.post(f"{path}do/start/").status_code == 409
    receiving.receive(made, list(photos.items()))
    assert "Begin with 6 photos" in text(client, path)
    assert client.post(f"{path}do/start/").status_code == 302
    assert Batch.objects.get().status == "queued"


@pytest.mark.parametrize("status", Batch.Status.values)
def test_every_state_has_its_words(client, batch, status):
    Batch.objects.filter(pk=batch.pk).update(status=status, failure="The zip is broken." if status == "failed" else "")
    assert "March" in text(client, "/batches/")
    page = text(client, f"/batches/{batch.pk}/")
    assert ("The zip is broken." in page) is (status == "failed")


# --- whose ------------------------------------------------------------------------------------------------------------
def test_nobody_else_sees_it_and_nobody_without_an_account(batch):
    other, admin = signed_in(User.objects.create_user("other")), signed_in(User.objects.create_superuser("root"))
    for path in ("", "1/", "1/small.jpg"):
        path = f"/batches/{batch.pk}/{path}"
        assert other.get(path).status_code == 404 and admin.get(path).status_code == 200
        assert Client().get(path).headers["Location"].startswith("/login/?next=")
    assert other.post(f"/batches/{batch.pk}/do/delete/").status_code == 404
    assert "March" not in text(other, "/batches/")
    assert Client().get("/batches/").status_code == 302 and Client().post("/batches/").status_code == 401


def test_who_is_signed_in_finds_it_in_the_header(client):
    assert 'href="/batches/"' in text(client, "/") and 'href="/batches/"' not in text(Client(), "/")


def test_batches_of_one_person_are_paged(client, ann, active_version, monkeypatch):
    monkeypatch.setattr(pages, "PAGE", 2)
    for name in ("first", "second", "third"):
        Batch.objects.begin([active_version], name=name, by=ann)
    page = text(client, "/batches/")
    assert "third" in page and "first" not in page
    assert "first" in text(client, "/batches/" + link(page, "next").removeprefix("/batches/"))
    assert client.get("/batches/?after=x").status_code == 400


# --- in the admin -----------------------------------------------------------------------------------------------------
def test_the_admin_lists_batches_and_links_their_pages(batch):
    admin = signed_in(User.objects.create_superuser("root"))
    listed = text(admin, "/admin/classifier/batch/")
    assert "March" in listed and "5 answered, 1 refused" in listed and f'href="/batches/{batch.pk}/"' in listed
    assert "tiny:1" in text(admin, f"/admin/classifier/batch/{batch.pk}/change/")


def test_the_front_page_of_the_admin_shows_what_is_answered_just_now(ann, active_version, photos):
    batch = Batch.objects.begin([active_version], by=ann)
    receiving.receive(batch, list(photos.items()))
    receiving.start(batch)
    predicting.enlist(Batch.objects.claim_next())
    assert predicting.claim() is not None
    page = text(signed_in(User.objects.create_superuser("root")), "/admin/")
    assert f'<a href="/admin/classifier/batch/{batch.pk}/change/">' in page and "photos 1 to 6" in page
