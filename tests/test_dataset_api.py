"""Datasets for programs: photos come in by pieces or from the server, the report and the photos are read."""

from pathlib import Path
from uuid import uuid4

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client

from tests.archives import photos, write_zip
from tests.photos import write_photos
from tests.programs import refused, robot
from tests.squares import make_dataset, make_run
from trainer import tasks
from trainer.models import Dataset, Photo
from trainer.models.importing import FRACTIONS

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def place(settings, tmp_path, monkeypatch) -> Path:
    for name in ("DATASETS_DIR", "RUNS_DIR", "UPLOADS_DIR", "SETS_DIR"):
        setattr(settings, name, tmp_path / "data" / name)
    settings.DATASETS_SOURCE_DIRS = [tmp_path / "sources"]
    settings.DATASETS_SOURCE_DIRS[0].mkdir()
    settings.CORES = 1
    monkeypatch.setattr(Dataset, "ring", lambda: True)
    return tmp_path


@pytest.fixture
def program() -> Client:
    return robot()


@pytest.fixture
def archive(place) -> bytes:
    return write_zip(place / "a.zip", photos(count=6)).read_bytes()


def piece(program: Client, key: object, data: bytes, offset: int, total: int):
    address = f"/api/datasets/upload/{key}?offset={offset}&total={total}"
    return program.put(address, data, content_type="application/octet-stream")


def post(program: Client, path: str, data: object = None, **headers: str):
    return program.post(path, {} if data is None else data, content_type="application/json", headers=headers)


# --- coming in ----------------------------------------------------------------------------------------------------
def test_a_zip_comes_in_pieces_and_becomes_a_dataset(program, archive, settings):
    key, half = uuid4(), len(archive) // 2
    assert piece(program, key, archive[:half], 0, len(archive)).json()["received"] == half
    assert piece(program, key, archive[half:], half, len(archive)).json()["received"] == len(archive)
    wanted = {
        "name": "dogs",
        "upload": str(key),
        "upload_name": "my dogs.zip",
        "seed": 7,
        "rename": {"pug": "a, b;c;d"},
    }
    answer = post(program, "/api/datasets", wanted)
    dataset, body = Dataset.objects.get(), answer.json()
    assert answer.status_code == 201 and answer["Location"] == f"/api/datasets/{dataset.pk}" == body["url"]
    assert (body["status"], body["place"], body["origin"]) == ("queued", 1, {"kind": "upload", "name": "my dogs.zip"})
    assert body["options"] == {"seed": 7, "fractions": list(FRACTIONS), "rename": {"pug": "a, b;c;d"}}
    assert LogEntry.objects.get().change_message == "Import started. With the key robot 0."
    tasks.import_datasets()
    body = program.get(body["url"]).json()
    assert body["status"] == "ready" and body["label_count"] == len(body["labels"]) and sum(body["photos"].values())
    assert list(settings.UPLOADS_DIR.iterdir()) == []


def test_a_broken_upload_goes_on_where_it_stopped(program, archive):
    key = uuid4()
    piece(program, key, archive[:100], 0, len(archive))
    again = piece(program, key, archive[:100], 0, len(archive))
    assert refused(again) == (409, "wrong_offset", "100 bytes are here: go on from there.")
    assert again.json()["received"] == program.get(f"/api/datasets/upload/{key}").json()["received"] == 100
    assert piece(program, key, archive[100:], 100, len(archive)).status_code == 200


def test_nobody_reaches_another_s_pieces(program, archive):
    key = uuid4()
    piece(program, key, archive, 0, len(archive))
    other = robot("train", may=("add_dataset",), owner="bob")
    assert other.get(f"/api/datasets/upload/{key}").json()["received"] == 0
    answer = post(other, "/api/datasets", {"name": "dogs", "upload": str(key)})
    assert refused(answer)[::2] == (
        422,
        "Nothing of this upload is here, or it became a dataset already: send its pieces first.",
    )


@pytest.mark.parametrize(
    ("query", "data", "wanted"),
    [
        ("", b"PK\x03\x04", (400, "malformed_request")),
        ("?offset=0", b"PK\x03\x04", (400, "malformed_request")),
        ("?offset=x&total=4", b"PK\x03\x04", (400, "malformed_request")),
        ("?offset=0&total=4&more=1", b"PK\x03\x04", (400, "malformed_request")),
        ("?offset=0&total=4", b"GIF8", (415, "unsupported_format")),
        ("?offset=0&total=3", b"PK\x03\x04", (413, "file_too_large")),
        (f"?offset=0&total={2**40}", b"PK\x03\x04", (413, "file_too_large")),
        ("?offset=9&total=13", b"PK\x03\x04", (409, "wrong_offset")),
    ],
)
def test_a_piece_that_does_not_fit_is_refused(program, query, data, wanted):
    answer = program.put(f"/api/datasets/upload/{uuid4()}{query}", data, content_type="application/octet-stream")
    assert refused(answer)[:2] == wanted and "image" not in answer.json()


def test_a_folder_of_the_server_is_named_by_its_path(program, place):
    folder = write_photos(place / "sources" / "more" / "photos", count=3)
    body = post(program, "/api/datasets", {"name": "dogs", "server": str(folder), "preset": "cifar10-resnet9"}).json()
    assert body["origin"] == {"kind": "server", "name": "photos"}
    assert body["options"]["fractions"] == pytest.approx([45 / 60, 5 / 60, 10 / 60])
    assert Dataset.objects.get().source_path == str(folder)


def test_a_known_set_is_imported_by_its_name(program, settings):
    body = post(program, "/api/datasets", {"name": "tiny", "builtin": "mnist", "fractions": [0.5, 0.25, 0.25]}).json()
    assert body["origin"] == {"kind": "builtin", "name": "mnist"} and body["options"]["fractions"] == [0.5, 0.25, 0.25]
    assert Dataset.objects.get().source_path == str(settings.SETS_DIR / "mnist")


@pytest.mark.parametrize(
    ("wanted", "field", "sentence"),
    [
        ({"builtin": "mnist"}, "name", "This field is required."),
        ({"name": "a b", "builtin": "mnist"}, "name", "Use small letters, digits, hyphens and underscores"),
        ({"name": "dogs"}, "upload", "Name one place where the photos are"),
        ({"name": "dogs", "builtin": "mnist", "server": "x"}, "builtin", "Name one place where the photos are"),
        ({"name": "dogs", "server": "/etc"}, "server", "There is no such folder or zip in the folders that"),
        ({"name": "dogs", "server": "\0"}, "server", "Null characters are not allowed."),
        ({"name": "dogs", "builtin": "imagenet"}, "builtin", '"imagenet" is not a valid choice.'),
        ({"name": "dogs", "upload": "1"}, "upload", "Must be a valid UUID."),
        ({"name": "dogs", "upload": str(uuid4())}, "upload", "Nothing of this upload is here"),
        ({"name": "dogs", "builtin": "mnist", "seed": -1}, "seed", "Ensure this value is greater than or equal to 0."),
        (
            {"name": "dogs", "builtin": "mnist", "fractions": [0.5, 0.5]},
            "fractions",
            "Ensure this field has at least 3",
        ),
        ({"name": "dogs", "builtin": "mnist", "fractions": [0.5, 0.4, 0.4]}, "fractions", "The three shares must sum"),
        (
            {"name": "dogs", "builtin": "mnist", "fractions": [0.8, 0.1, 0.1], "preset": "transfer"},
            *("fractions", "fractions and preset both say how the photos are divided"),
        ),
        ({"name": "dogs", "builtin": "mnist", "rename": {"a": {}}}, "rename", "This is a text, not {}."),
        ({"name": "dogs", "builtin": "mnist", "rename": {"a": 0}}, "rename", "This is a text, not 0."),
        ({"name": "dogs", "builtin": "mnist", "seed": "1"}, "seed", 'This is a whole number, not "1".'),
        ({"name": "dogs", "builtin": "mnist", "seed": True}, "seed", "This is a whole number, not true."),
        ({"name": "dogs", "upload": 1}, "upload", "This is a UUID, not 1."),
        ({"name": "dogs", "builtin": "mnist", "rename": {"a\0": "b"}}, "rename", "a character that no name may have"),
    ],
)
def test_what_is_wrong_is_refused_by_its_name(program, wanted, field, sentence):
    answer = post(program, "/api/datasets", wanted)
    status, code, said = refused(answer)
    assert (status, code) == (422, "invalid_fields") and sentence in said, said
    assert list(answer.json()["fields"]) == [field] and not Dataset.objects.exists()


def test_the_same_idempotency_key_imports_once(program, archive):
    key, headers = uuid4(), {"idempotency-key": str(uuid4())}
    piece(program, key, archive, 0, len(archive))
    answers = [post(program, "/api/datasets", {"name": "dogs", "upload": str(key)}, **headers) for _ in range(2)]
    assert answers[0].json() == answers[1].json() and answers[1]["Idempotency-Replayed"] == "true"
    assert Dataset.objects.count() == 1


def test_what_died_with_the_whole_zip_is_asked_for_again(program, archive, monkeypatch):
    """The zip has its last name then, and no row."""
    key, headers = uuid4(), {"idempotency-key": str(uuid4())}
    piece(program, key, archive, 0, len(archive))
    wanted = {"name": "dogs", "upload": str(key)}
    with monkeypatch.context() as patch:
        patch.setattr("trainer.api.datasets.note", lambda *words: 1 / 0)
        program.raise_request_exception = False
        assert post(program, "/api/datasets", wanted, **headers).status_code == 500 and not Dataset.objects.exists()
    assert post(program, "/api/datasets", wanted, **headers).status_code == 201
    assert refused(post(program, "/api/datasets", wanted))[1] == "invalid_fields", "one zip is one dataset"
    assert Dataset.objects.count() == 1


# --- reading ------------------------------------------------------------------------------------------------------
def test_the_list_is_filtered_and_paged(program):
    first, second = make_dataset("cats"), make_dataset("dogs")
    ask = lambda query="": [row["id"] for row in program.get(f"/api/datasets{query}").json()["results"]]  # noqa: E731
    assert ask() == [second.pk, first.pk] and ask("?order=name") == [first.pk, second.pk]
    assert ask("?name=dogs&status=ready") == [second.pk] and ask("?status=failed") == []
    assert ask(program.get("/api/datasets?page_size=1").json()["next"].partition("datasets")[2]) == [first.pk]


def test_the_report_and_the_photos_are_read(program):
    dataset = make_dataset()
    report = program.get(f"/api/datasets/{dataset.pk}/report").json()
    assert report["dataset"] == "squares:1" and report["counts"] == dataset.counts
    rows = program.get(f"/api/datasets/{dataset.pk}/photos?page_size=2&part=train&label=pug").json()
    assert [row["label"] for row in rows["results"]] == ["pug", "pug"]
    assert rows["results"][0].keys() >= {"id", "name", "part", "sha256", "excluded"}
    Photo.objects.filter(pk=rows["results"][0]["id"]).update(flag="near", example=True, excluded=True)
    for query in ("flag=near", "flag=example", "excluded=true"):
        found = program.get(f"/api/datasets/{dataset.pk}/photos?{query}").json()["results"]
        assert [row["id"] for row in found] == [rows["results"][0]["id"]]
    count, address = 0, f"/api/datasets/{dataset.pk}/photos?page_size=7&order=-id"
    while address:
        body = program.get(address).json()
        count, address = count + len(body["results"]), body["next"]
    assert count == 30
    assert refused(program.get(f"/api/datasets/{dataset.pk}/photos?flag=blue"))[2].startswith("flag is one of conflict")
    for path in ("", "/report", "/photos"):
        assert refused(program.get(f"/api/datasets/999{path}"))[:2] == (404, "not_found")


# --- verbs --------------------------------------------------------------------------------------------------------
def test_an_import_is_stopped_and_its_zip_forgotten(program, archive, settings):
    key = uuid4()
    piece(program, key, archive, 0, len(archive))
    body = post(program, "/api/datasets", {"name": "dogs", "upload": str(key)}).json()
    assert refused(program.delete(body["url"]))[2] == "dogs:1 stays: it is queued, stop it first."
    assert post(program, f"{body['url']}/stop").json()["status"] == "cancelled"
    assert list(settings.UPLOADS_DIR.iterdir()) == []
    assert refused(post(program, f"{body['url']}/stop"))[::2] == (
        *(409, "The import of dogs:1 has ended already: it is cancelled."),
    )
    assert program.delete(body["url"]).status_code == 204 and not Dataset.objects.exists()


def test_what_a_run_was_started_on_stays(program, monkeypatch):
    dataset = make_dataset()
    make_run(dataset)
    assert refused(program.delete(f"/api/datasets/{dataset.pk}"))[::2] == (
        *(409, "squares:1 stays: a run was started on it."),
    )
    monkeypatch.setattr(Dataset, "may_go", True)  # it was started a moment later
    assert refused(program.delete(f"/api/datasets/{dataset.pk}"))[2] == "squares:1 stays: something was made of it."
    assert Dataset.objects.exists() and not LogEntry.objects.exists()
