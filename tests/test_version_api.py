"""Versions for programs: listed a page at a time, read, activated, taken away as a zip."""

import io
import zipfile

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.test import Client

from breedsite import keys
from breedsite.models import ApiKey
from classifier.models import ModelVersion
from classifier.spec import FILES
from tests.artifacts import make_artifact

pytestmark = pytest.mark.django_db


@pytest.fixture
def robot() -> Client:
    """A program of an administrator, with a key for everything."""
    keys.known.clear()
    _, secret = ApiKey.objects.issue(User.objects.create_superuser("ann"), name="robot", scopes=["admin"])
    return Client(headers={"authorization": f"Bearer {secret}"})


@pytest.fixture
def second(active_version, tmp_path) -> ModelVersion:
    return ModelVersion.objects.install(make_artifact(tmp_path / "second", seed=1))


def names(response) -> list[str]:
    return [row["version"] for row in response.json()["results"]]


def refused(response) -> tuple[int, str, str]:
    problem = response.json()
    assert response["Content-Type"] == "application/problem+json"
    return response.status_code, problem["code"], problem["detail"]


# --- the list -----------------------------------------------------------------------------------------------------
def test_it_lists_the_newest_first_with_what_was_measured(robot, second):
    body = robot.get("/api/versions").json()
    assert [row["version"] for row in body["results"]] == ["tiny:2", "tiny:1"] and body["next"] is None
    row = body["results"][1]
    assert row["is_active"] and row["label_count"] == 5
    assert row["quality"]["n"] == 50 and row["quality"]["top1"]["low"] <= 0.6 <= row["quality"]["top1"]["high"]


def test_pages_follow_one_another_in_every_order(robot, second):
    for order, wanted in {"-id": ["tiny:2", "tiny:1"], "name": ["tiny:1", "tiny:2"]}.items():
        first = robot.get(f"/api/versions?page_size=1&order={order}")
        later = robot.get(first.json()["next"])
        assert names(first) + names(later) == wanted and later.json()["next"] is None
        assert f"order={order}" in first.json()["next"]


def test_it_is_filtered_by_name_and_by_what_answers(robot, second):
    assert names(robot.get("/api/versions?is_active=true")) == ["tiny:1"]
    assert names(robot.get("/api/versions?is_active=false&name=tiny")) == ["tiny:2"]
    assert names(robot.get("/api/versions?name=other")) == []


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("page_size=0", "page_size is a whole number from 1 to 100."),
        ("page_size=101", "page_size is a whole number from 1 to 100."),
        ("after=x", "after is a whole number that a row has."),
        ("after=99999999999999999999", "after is a whole number that a row has."),
        ("after=7&order=name", "There is no row 7 any more after which to go on: begin again."),
        ("order=digest", "order is one of -id, id, name, -name, created_at, -created_at."),
        ("is_active=1", "is_active is true or false."),
        ("name=%00", "name is a text of at most 64 characters."),
        ("nam=tiny", "This address does not know 'nam': it knows page_size, after, order, name, is_active."),
        ("name=a&name=b", "name stands in the address more than once."),
    ],
)
def test_what_a_list_does_not_understand_it_refuses_by_name(robot, query, sentence):
    assert refused(robot.get(f"/api/versions?{query}")) == (400, "malformed_request", sentence)


def test_a_damaged_row_hides_nothing_else(robot, second):
    ModelVersion.objects.filter(pk=second.pk).update(spec={})
    rows = robot.get("/api/versions").json()["results"]
    assert "cannot be read" in rows[0]["failure"] and rows[0]["quality"] is None and rows[1]["failure"] is None
    assert robot.get(rows[0]["url"]).json()["spec"] == {}


# --- one ----------------------------------------------------------------------------------------------------------
def test_the_card_holds_spec_quality_and_lineage(robot, active_version):
    card = robot.get(f"/api/versions/{active_version.pk}").json()
    assert card["spec"]["labels"] == active_version.spec["labels"]
    assert card["quality"]["top1"]["correct"] == active_version.spec["quality"]["top1"]["correct"]
    assert card["lineage"] == active_version.spec["origin"]
    assert refused(robot.get("/api/versions/999"))[:2] == (404, "not_found")
    assert refused(robot.get(f"/api/versions/{active_version.pk}?x=1"))[0] == 400


def test_a_program_activates_a_version(robot, second):
    answer = robot.post(f"/api/versions/{second.pk}/activate")
    assert answer.status_code == 200 and answer.json()["is_active"]
    assert ModelVersion.objects.active() == second
    assert LogEntry.objects.get().change_message == "Activated. With the key robot."


def test_a_version_that_is_not_sound_is_not_activated(robot, second):
    (second.path / "model.onnx").write_bytes(b"nothing")
    status, code, sentence = refused(robot.post(f"/api/versions/{second.pk}/activate"))
    assert (status, code) == (409, "wrong_state") and sentence.startswith("Version tiny:2 was not activated: ")
    assert str(ModelVersion.objects.active()) == "tiny:1"


def test_the_export_can_be_installed_again(robot, active_version, tmp_path, settings):
    answer = robot.get(f"/api/versions/{active_version.pk}/export")
    assert answer.streaming and answer["Content-Type"] == "application/zip"
    assert answer["Content-Disposition"] == 'attachment; filename="tiny-1.zip"'
    with zipfile.ZipFile(io.BytesIO(answer.getvalue())) as archive:
        assert sorted(archive.namelist()) == sorted(["spec.json", *FILES])
        archive.extractall(tmp_path / "unpacked")
    settings.VERSIONS_DIR = tmp_path / "elsewhere"
    assert ModelVersion.objects.install(tmp_path / "unpacked").digest == active_version.digest


def test_what_is_damaged_is_not_exported(robot, active_version):
    (active_version.path / "weights.safetensors").unlink()
    assert refused(robot.get(f"/api/versions/{active_version.pk}/export")) == (
        *(409, "wrong_state"),
        "Version tiny:1 cannot be exported: its folder is damaged.",
    )
