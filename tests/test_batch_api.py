"""Batches through the API: photos in by form, piece by piece or from the server, rows out, and nobody else's."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from breedsite import keys
from breedsite.models import ApiKey
from classifier import tasks, uploads
from classifier.models import Batch, BatchItem, Chunk, ModelVersion, predicting, receiving
from tests.artifacts import make_artifact
from tests.live import FORM, form, part

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def place(settings, tmp_path, monkeypatch) -> Path:
    settings.BATCHES_DIR = tmp_path / "batches"
    settings.CORES = 1
    settings.KEY_RATE = None
    monkeypatch.setattr(Batch, "ring", staticmethod(lambda: True))
    monkeypatch.setattr(Chunk, "ring", staticmethod(lambda: True))
    predicting.loaded.cache_clear()
    keys.known.clear()
    return tmp_path


@pytest.fixture
def ann(active_version) -> User:
    return User.objects.create_user("ann")


@pytest.fixture
def client(ann) -> Client:
    """A program of ann's."""
    return program(ann)


def program(user: User, *scopes: str) -> Client:
    _, secret = ApiKey.objects.issue(user, name=uuid4().hex, scopes=scopes or ["predict", "read"])
    return Client(headers={"authorization": f"Bearer {secret}"})


def zipped(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        for name, data in files.items():
            made.writestr(name, data)
    return out.getvalue()


@pytest.fixture
def photos(make_picture) -> dict[str, bytes]:
    return {f"{number}.jpg": make_picture(number) for number in range(5)} | {"notes.txt": b"not a photo"}


def post(client: Client, path: str = "", data: Any = None, **headers: str) -> Any:
    """A JSON object, or nothing."""
    return client.post(f"/api/batches{path}", json.dumps(data or {}), content_type="application/json", headers=headers)


def send(client: Client, files: dict[str, bytes], path: str = "", headers: Any = None, **fields: Any) -> Any:
    """A form, in which names keep their folders, as browsers send them and Django's own client does not."""
    parts = [part("files", data, file=name) for name, data in files.items()]
    parts += [
        part(name, one.encode(), file=None)
        for name, value in fields.items()
        for one in (value if isinstance(value, list) else [value])
    ]
    return client.post(f"/api/batches{path}", form(*parts), content_type=FORM, headers=headers)


def problem(response: Any) -> tuple[int, str]:
    assert response.headers["Content-Type"] == "application/problem+json", response.content
    assert response.json()["detail"].endswith("."), response.json()
    return response.status_code, response.json()["code"]


def rows(client: Client, pk: int, query: str = "") -> list[dict[str, Any]]:
    return client.get(f"/api/batches/{pk}/items{query}").json()["results"]


def text(response: Any) -> str:
    assert response.status_code == 200, response.content
    return b"".join(response.streaming_content).decode()


# --- in ---------------------------------------------------------------------------------------------------------------
def test_photos_of_one_form_are_answered_in_their_order(client, photos, active_version):
    response = send(client, photos, name="March")
    assert response.status_code == 201, response.content
    made = response.json()
    assert response.headers["Location"] == f"/api/batches/{made['id']}"
    assert (made["name"], made["status"], made["active"]) == ("March", "queued", True)
    assert made["counts"] == {"pending": 5, "answered": 0, "refused": 1}
    assert made["progress"] == {"done": 0, "total": 6} and made["versions"] == ["tiny:1"]
    tasks.predict_batches()
    done = client.get(response.headers["Location"]).json()
    assert (done["status"], done["active"], done["failure"]) == ("finished", False, None)
    assert done["counts"] == {"pending": 0, "answered": 5, "refused": 1}
    assert done["progress"] == {"done": 6, "total": 6} and done["labels"] == list(active_version.card.labels)
    found = rows(client, made["id"])
    assert [row["file"] for row in found] == list(photos) and [row["position"] for row in found] == [1, 2, 3, 4, 5, 6]
    assert found[-1]["code"] == "unsupported_format" and found[-1]["label"] is None and found[-1]["top"] == []
    assert (
        found[0]["label"] == found[0]["top"][0]["label"]
        and found[0]["probability"] == found[0]["top"][0]["probability"]
    )


def test_the_answers_are_those_of_predict_image(client, photos):
    pk = send(client, photos).json()["id"]
    tasks.predict_batches()
    for row in rows(client, pk, "?status=answered"):
        single = client.post("/api/predictImage", photos[row["file"]], content_type="image/jpeg").json()
        assert row["label"] == single["label"] and row["sure"] == single["sure"]
        assert row["probability"] == pytest.approx(single["top"][0]["probability"], abs=1e-5)


def test_a_zip_alone_is_a_row_for_each_of_its_members(client, photos):
    pk = send(client, {"march.zip": zipped(photos)}).json()["id"]
    tasks.predict_batches()
    done = client.get(f"/api/batches/{pk}").json()
    assert done["source"] == {"kind": "zip", "name": "march.zip"} and done["counts"]["answered"] == 5
    assert sorted(row["file"] for row in rows(client, pk)) == sorted(photos)


def test_photos_of_several_requests_come_after_each_other(client, photos, make_picture):
    pk = post(client, data={"name": "open", "open": True}).json()["id"]
    assert send(client, photos, f"/{pk}/files").json()["photos"] == 6
    second = send(client, {"a/b/../ü =1.jpg": make_picture(9), "..": b"GIF89a"}, f"/{pk}/files").json()
    assert second["photos"] == 8 and [(row["file"], row["position"]) for row in second["refused"]] == [("..", 8)]
    assert client.get(f"/api/batches/{pk}").json()["status"] == "receiving"
    assert post(client, f"/{pk}/start").json()["status"] == "queued"
    assert problem(post(client, f"/{pk}/start")) == (409, "wrong_state")
    assert problem(send(client, photos, f"/{pk}/files")) == (409, "wrong_state")
    tasks.predict_batches()
    assert [row["file"] for row in rows(client, pk)] == [*photos, "a/b/../ü =1.jpg", ".."]
    kept = Batch.objects.get(pk=pk).folder / "files"
    named = BatchItem.objects.filter(batch=pk).exclude(file="").order_by("position").values_list("file", "position")
    assert [position for _, position in named] == [0, 1, 2, 3, 4, 6]
    assert {file: file[:64] for file, _ in named} == {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in kept.iterdir()
    }


def test_what_cannot_be_used_does_not_even_wait_for_a_worker(client):
    pk = send(client, {"a.txt": b"text", "b.jpg": b"\xff\xd8\xff", "c.jpg": b"GIF89a"}, open="true").json()["id"]
    assert {row["code"] for row in rows(client, pk)} == {"unsupported_format", "image_truncated"}
    post(client, f"/{pk}/start")
    tasks.predict_batches()
    done = client.get(f"/api/batches/{pk}").json()
    assert done["status"] == "finished" and done["progress"] == {"done": 3, "total": 3}


def test_a_photo_that_is_too_large_gets_its_row(client, make_picture, settings):
    settings.MAX_IMAGE_BYTES = 100_000
    pk = send(client, {"large.jpg": make_picture() + bytes(200_000), "small.jpg": make_picture()}).json()["id"]
    tasks.predict_batches()
    assert [(row["file"], row["code"]) for row in rows(client, pk)] == [
        ("large.jpg", "file_too_large"),
        ("small.jpg", None),
    ]


def test_a_zip_comes_in_pieces_and_goes_on_where_it_stopped(client, photos):
    whole = zipped(photos)
    pk = post(client, data={"open": True}).json()["id"]
    total, third = len(whole), len(whole) // 3

    def put(offset: int, data: bytes) -> Any:
        address = f"/api/batches/{pk}/archive?offset={offset}&total={total}&name=a.zip"
        return client.put(address, data, content_type="application/octet-stream")

    assert put(0, whole[:third]).json() == {"received": third}
    again = put(0, whole[:third])
    assert problem(again) == (409, "wrong_offset") and again.json()["received"] == third
    assert problem(post(client, f"/{pk}/start")) == (409, "wrong_state")
    assert problem(send(client, photos, f"/{pk}/files")) == (409, "wrong_state")
    assert put(third, whole[third:]).json() == {"received": total}
    again = put(third, whole[third:])
    assert problem(again) == (409, "wrong_offset") and again.json()["received"] == total
    assert post(client, f"/{pk}/start").status_code == 200
    tasks.predict_batches()
    done = client.get(f"/api/batches/{pk}").json()
    assert done["status"] == "finished" and done["counts"]["answered"] == 5 and done["source"]["name"] == "a.zip"


def test_a_piece_that_is_no_zip_or_says_no_place_is_refused(client):
    pk = post(client, data={"open": True}).json()["id"]
    path = f"/api/batches/{pk}/archive"
    assert problem(client.put(f"{path}?offset=0&total=9", b"Rar!-----")) == (415, "unsupported_format")
    assert problem(client.put(path, b"PK\3\4")) == (400, "malformed_request")
    assert problem(client.put(f"{path}?offset=-1&total=9", b"PK\3\4")) == (400, "malformed_request")
    large = f"{path}?offset=0&total={uploads.MAX_BYTES + 1}"
    assert problem(client.put(large, b"PK\3\4")) == (413, "file_too_large")


def test_a_full_disk_is_said_and_leaves_no_batch(client, photos, monkeypatch):
    def full(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    client.raise_request_exception = False
    monkeypatch.setattr(Path, "write_bytes", full)
    assert problem(send(client, photos)) == (503, "storage_full")
    assert not Batch.objects.exists()


def test_a_broken_form_leaves_nothing_half(client, photos, monkeypatch):
    monkeypatch.setattr(receiving, "MOST_FILES", 5)
    pk = post(client, data={"open": True}).json()["id"]
    assert problem(send(client, photos, f"/{pk}/files")) == (400, "malformed_request")
    assert list((Batch.objects.get(pk=pk).folder / "files").iterdir()) == [] and rows(client, pk) == []


def test_staff_names_a_folder_that_the_operator_opened(client, place, photos, settings):
    opened, closed = place / "opened", place / "closed"
    for folder in (opened / "march", closed / "march"):
        folder.mkdir(parents=True)
        for name, data in photos.items():
            (folder / name).write_bytes(data)
    (opened / "link").symlink_to(closed)
    settings.DATASETS_SOURCE_DIRS = [opened]
    staff = program(User.objects.create_user("staff", is_staff=True))
    assert problem(post(client, data={"server": str(opened / "march")})) == (403, "forbidden")
    for path in (closed / "march", opened / "link" / "march", opened, opened / "nothing", "/etc", "a\0b", "x" * 5000):
        assert problem(post(staff, data={"server": str(path)})) == (400, "malformed_request"), path
    made = post(staff, data={"server": str(opened / "march")}).json()
    assert made["status"] == "queued" and made["source"] == {"kind": "server", "name": "march"}
    tasks.predict_batches()
    assert staff.get(f"/api/batches/{made['id']}").json()["counts"]["answered"] == 5


def test_several_versions_answer_together(client, photos, tmp_path):
    ModelVersion.objects.install(make_artifact(tmp_path / "other", seed=3, name="other"))
    made = send(client, photos, versions=["tiny:1", "other"], combine="vote").json()
    assert sorted(made["versions"]) == ["other:1", "tiny:1"] and made["combine"] == "vote"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({}, "No photo was sent"),
        ({"open": True, "versions": ["nothing"]}, "There is no version 'nothing'"),
        ({"open": True, "versions": ["tiny", "cats"]}, "do not know the same labels"),
        ({"open": True, "versions": "tiny"}, "versions is a list"),
        ({"open": True, "combine": "sum"}, "combine is one of mean, vote"),
        ({"open": True, "name": "x" * 101}, "at most 100 characters"),
        ({"open": "perhaps"}, "open is true or false"),
        ({"open": True, "name": "\ud800"}, "not JSON"),
        ({"open": True, "versions": ["tiny\0"]}, "without NUL"),
        ({"open": True, "files": ["x"]}, "'files' is not known here"),
        ([], "Send a JSON object"),
    ],
)
def test_what_is_asked_for_wrongly_is_refused_in_words(client, tmp_path, data, words):
    ModelVersion.objects.install(make_artifact(tmp_path / "cats", labels=("cat", "dog"), name="cats"))
    response = client.post("/api/batches", json.dumps(data), content_type="application/json")
    assert response.status_code == 400 and words in response.json()["detail"]
    assert not Batch.objects.exists()


def test_a_zip_between_photos_and_a_field_of_another_name_are_refused(client, photos, picture):
    assert problem(send(client, photos | {"a.zip": zipped(photos)})) == (400, "malformed_request")
    assert problem(client.post("/api/batches", {"image": SimpleUploadedFile("a.jpg", picture)})) == (
        400,
        "malformed_request",
    )
    assert problem(client.post("/api/batches", "<x>", content_type="text/xml")) == (415, "unsupported_format")
    assert not Batch.objects.exists()


def test_without_an_active_version_one_must_be_named(client, active_version):
    ModelVersion.objects.update(is_active=False)
    assert problem(post(client, data={"open": True})) == (503, "no_active_model")
    assert post(client, data={"open": True, "versions": ["tiny"]}).status_code == 201


def test_what_is_sent_twice_with_one_idempotency_key_is_there_once(client, photos):
    key = {"idempotency-key": str(uuid4())}
    first, second = (send(client, photos, headers=key) for _ in range(2))
    assert first.json()["id"] == second.json()["id"] and second.headers["Idempotency-Replayed"] == "true"
    assert Batch.objects.count() == 1
    pk = post(client, data={"open": True}).json()["id"]
    key = {"idempotency-key": str(uuid4())}
    for _ in range(2):
        assert send(client, photos, f"/{pk}/files", headers=key).json()["photos"] == 6
    tasks.predict_batches()
    assert client.get(f"/api/batches/{first.json()['id']}").json()["counts"]["answered"] == 5


# --- out --------------------------------------------------------------------------------------------------------------
def test_rows_are_paged_and_filtered(client, photos):
    pk = send(client, photos).json()["id"]
    tasks.predict_batches()
    page = client.get(f"/api/batches/{pk}/items?page_size=4").json()
    assert [row["position"] for row in page["results"]] == [1, 2, 3, 4]
    rest = client.get(page["next"]).json()
    assert [row["position"] for row in rest["results"]] == [5, 6] and rest["next"] is None
    assert [row["file"] for row in rows(client, pk, "?code=unsupported_format")] == ["notes.txt"]
    label = rows(client, pk)[0]["label"]
    assert {row["label"] for row in rows(client, pk, f"?label={label}")} == {label}
    assert all(row["sure"] is False for row in rows(client, pk, "?unsure=true"))
    assert rows(client, pk, "?label=nothing") == rows(client, pk, "?label=%00x") == []
    for query in (
        "page_size=1001",
        "page_size=x",
        "odd=1",
        "after=-1",
        "status=odd",
        "unsure=perhaps",
        f"after={2**70}",
    ):
        assert problem(client.get(f"/api/batches/{pk}/items?{query}")) == (400, "malformed_request"), query


def test_batches_are_listed_newest_first_and_paged(client):
    made = [post(client, data={"name": str(number), "open": True}).json()["id"] for number in range(3)]
    page = client.get("/api/batches?page_size=2").json()
    assert [batch["id"] for batch in page["results"]] == [made[2], made[1]]
    rest = client.get(page["next"]).json()
    assert [batch["id"] for batch in rest["results"]] == [made[0]] and rest["next"] is None
    post(client, f"/{made[0]}/stop")
    assert [batch["id"] for batch in client.get("/api/batches?status=stopped").json()["results"]] == [made[0]]
    assert problem(client.get("/api/batches?status=odd")) == (400, "malformed_request")


def test_results_come_in_four_formats_when_all_is_done(client, photos):
    pk = send(client, {"=1+1.jpg": photos["0.jpg"]} | photos).json()["id"]
    path = f"/api/batches/{pk}/results"
    assert problem(client.get(path)) == (409, "wrong_state")
    assert len(text(client.get(f"{path}?partial=true")).splitlines()) == 8
    tasks.predict_batches()
    response = client.get(path)
    assert response.headers["Content-Disposition"] == f'attachment; filename="batch-{pk}.csv"'
    lines = text(response).splitlines()
    assert len(lines) == 8 and lines[1].startswith("1,'=1+1.jpg,answered")
    assert [json.loads(line)["file"] for line in text(client.get(f"{path}?format=jsonl")).splitlines()][1:] == list(
        photos
    )
    assert text(client.get(f"{path}?format=category")).splitlines()[0] == "id,category"
    assert len(text(client.get(f"{path}?format=probabilities")).splitlines()[0].split(",")) == 6
    assert problem(client.get(f"{path}?format=odd")) == (400, "malformed_request")


def test_rows_that_are_read_by_the_hundred_are_all_there(client, photos, active_version):
    batch = Batch.objects.begin([active_version], by=User.objects.get(username="ann"))
    receiving.receive(batch, [(f"{number}.txt", b"text") for number in range(1203)])
    receiving.start(batch)
    tasks.predict_batches()
    lines = text(client.get(f"/api/batches/{batch.pk}/results")).splitlines()
    assert [line.split(",")[1] for line in lines[1:]] == [f"{number}.txt" for number in range(1203)]


# --- verbs ------------------------------------------------------------------------------------------------------------
def test_a_batch_is_stopped_resumed_and_removed(client, photos):
    pk = send(client, photos).json()["id"]
    assert post(client, f"/{pk}/stop").json()["status"] == "stopped"
    assert problem(post(client, f"/{pk}/stop")) == (409, "wrong_state")
    assert post(client, f"/{pk}/resume").json()["status"] == "queued"
    tasks.predict_batches()
    assert problem(post(client, f"/{pk}/resume")) == (409, "wrong_state")
    folder = Batch.objects.get(pk=pk).folder
    assert folder.exists() and client.delete(f"/api/batches/{pk}").status_code == 204
    assert not folder.exists() and problem(client.get(f"/api/batches/{pk}")) == (404, "not_found")


def test_how_long_it_takes_is_said_while_it_runs(client, photos, monkeypatch):
    monkeypatch.setattr(predicting, "CHUNK", 2)
    pk = send(client, photos).json()["id"]
    predicting.enlist(Batch.objects.claim_next())
    with predicting.decoding() as decoders:
        predicting.predict(Chunk.objects.claim_next(device="cpu"), decoders)
    eta = client.get(f"/api/batches/{pk}").json()["eta_seconds"]
    assert eta is not None and 0 <= eta < 600


# --- whose ------------------------------------------------------------------------------------------------------------
ADDRESSES = [
    *[("get", path) for path in ("", "/items", "/results")],
    *[("post", path) for path in ("/files", "/start", "/stop", "/resume")],
    ("put", "/archive?offset=0&total=9"),
    ("delete", ""),
]


def test_anothers_batch_is_not_there(client, photos):
    pk = send(client, photos).json()["id"]
    other = program(User.objects.create_user("other"), "admin")
    for method, path in ADDRESSES:
        assert problem(getattr(other, method)(f"/api/batches/{pk}{path}")) == (404, "not_found"), (method, path)
    assert other.get("/api/batches").json()["results"] == []
    admin = program(User.objects.create_superuser("root"), "admin")
    assert [batch["owner"] for batch in admin.get("/api/batches").json()["results"]] == ["ann"]
    assert admin.delete(f"/api/batches/{pk}").status_code == 204


def test_a_key_needs_its_scope_and_nobody_gets_in_without_one(ann, photos):
    reader, asker = program(ann, "read"), program(ann, "predict")
    pk = send(asker, photos).json()["id"]
    for method, path in ADDRESSES:
        wrong = asker if method == "get" else reader
        assert problem(getattr(wrong, method)(f"/api/batches/{pk}{path}")) == (403, "forbidden"), (method, path)
        assert problem(getattr(Client(), method)(f"/api/batches/{pk}{path}")) == (401, "auth_required"), (method, path)


def test_a_browser_sends_with_the_token_of_the_page_alone(ann, photos):
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(ann)
    assert problem(send(browser, photos)) == (403, "csrf_failed")
