"""Runs for programs: started, listed, watched, told what to do. What trains is another test's matter."""

from uuid import uuid4

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from breedsite import jobs
from classifier.models import ModelVersion
from tests.artifacts import make_artifact
from tests.programs import refused, robot
from tests.squares import make_dataset, make_run
from tests.trainings import RECIPE
from trainer.models import Dataset, TrainingRun
from trainer.presets import PRESETS

pytestmark = pytest.mark.django_db
Status = TrainingRun.Status


@pytest.fixture(autouse=True)
def folders(settings, tmp_path, monkeypatch) -> None:
    for name in ("DATASETS_DIR", "RUNS_DIR", "VERSIONS_DIR"):
        setattr(settings, name, tmp_path / name)
    monkeypatch.setattr(jobs.app, "send_task", lambda name, **options: None)


@pytest.fixture
def program() -> Client:
    return robot()


@pytest.fixture
def squares() -> Dataset:
    return make_dataset()


def post(program: Client, path: str, data: object = None, **headers: str):
    return program.post(path, {} if data is None else data, content_type="application/json", headers=headers)


def ended(run: TrainingRun, status: str = Status.FINISHED, **changes: object) -> TrainingRun:
    TrainingRun.objects.filter(pk=run.pk).update(status=status, **changes)
    run.refresh_from_db()
    return run


def with_version(run: TrainingRun, tmp_path) -> TrainingRun:
    return ended(run, version=ModelVersion.objects.install(make_artifact(tmp_path / "made")))


# --- starting -----------------------------------------------------------------------------------------------------
def test_a_preset_with_changes_starts_a_run(program, squares):
    answer = post(program, "/api/runs", {"dataset": "squares", "preset": "starter", "recipe": {"epochs": 2}})
    run, body = TrainingRun.objects.get(), answer.json()
    assert answer.status_code == 201 and answer["Location"] == f"/api/runs/{run.pk}" == body["url"]
    assert (body["status"], body["place"], body["dataset"], body["changes"]) == (
        "queued",
        1,
        "squares:1",
        {"epochs": 2},
    )
    assert run.recipe == PRESETS["starter"].changed(epochs=2).as_dict()
    assert (run.preset, run.name, run.created_by.username) == ("starter", "squares", "ann")
    assert LogEntry.objects.get().change_message == "Started. With the key robot 0."


def test_the_least_that_is_said_trains_as_the_form_would(program, squares):
    body = post(program, "/api/runs", {"dataset": "squares:1"}).json()
    assert (body["preset"], body["changes"], body["kind"]) == ("transfer", {}, "training")


def test_a_range_test_is_a_run_too(program, squares):
    body = post(program, "/api/runs", {"dataset": "squares", "kind": "range test", "name": "rates"}).json()
    assert (body["kind"], body["name"]) == ("range test", "rates")


def test_it_goes_on_from_a_version(program, squares, tmp_path):
    first = with_version(make_run(squares), tmp_path)
    wanted = {"dataset": "squares", "preset": "starter", "recipe": RECIPE, "continue": first.pk}
    body = post(program, "/api/runs", wanted).json()
    assert body["continue"] == first.pk, body
    other = wanted | {"recipe": RECIPE | {"architecture": "resnet9"}}
    code, sentence = refused(post(program, "/api/runs", other))[1:]
    assert code == "invalid_fields" and "leave the labels and the network as they are there" in sentence


@pytest.mark.parametrize(
    ("wanted", "field", "sentence"),
    [
        ({}, "dataset", "dataset: This field is required."),
        ({"dataset": "cats"}, "dataset", "There is no dataset 'cats'. Ready: squares:1."),
        ({"dataset": "squares:x"}, "dataset", "There is no dataset 'squares:x'. Ready: squares:1."),
        ({"dataset": "squares", "preset": "no"}, "preset", 'preset: "no" is not a valid choice.'),
        (
            {"dataset": "squares", "recipe": {"batch_size": 0}},
            *("batch_size", "batch_size must lie between 1 and 65536 photos, not 0."),
        ),
        (
            {"dataset": "squares", "recipe": {"epochs": "3"}},
            *("epochs", "epochs must be a whole number, not '3'."),
        ),
        (
            {"dataset": "squares", "recipe": {"self": 1}},
            *("self", "A recipe has no field 'self'."),
        ),
        (
            {"dataset": "squares", "recipe": [1]},
            "recipe",
            'recipe: Expected a dictionary of items but got type "list".',
        ),
        ({"dataset": "squares", "name": "A B"}, "name", "name: Use small letters, digits, hyphens and underscores"),
        ({"dataset": "squares", "epochs": 3}, "epochs", "There is no field 'epochs': there are dataset, preset"),
        ({"dataset": "squares", "continue": 99}, "continue", "continue: There is no such run, or it has not ended"),
    ],
)
def test_what_is_wrong_is_refused_by_its_name(program, squares, wanted, field, sentence):
    answer = post(program, "/api/runs", wanted)
    status, code, said = refused(answer)
    assert (status, code) == (422, "invalid_fields") and said.startswith(sentence), said
    assert list(answer.json()["fields"]) == [field] and not TrainingRun.objects.exists()


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"dataset": NaN}', b'{"dataset": "\\ud800"}', b"\xff", b"[" * 100_000])
def test_what_is_no_object_of_json_is_refused(program, body):
    assert refused(program.post("/api/runs", body, content_type="application/json"))[:2] == (400, "malformed_request")


def test_a_form_is_not_taken_for_json(program):
    assert refused(program.post("/api/runs", {"dataset": "squares"}))[::2] == (
        415,
        "Send JSON, with Content-Type: application/json.",
    )


def test_the_same_idempotency_key_starts_one_run(program, squares):
    key = {"idempotency-key": str(uuid4())}
    answers = [post(program, "/api/runs", {"dataset": "squares"}, **key) for _ in range(2)]
    assert answers[0].json() == answers[1].json() and answers[1]["Idempotency-Replayed"] == "true"
    assert TrainingRun.objects.count() == 1


# --- reading ------------------------------------------------------------------------------------------------------
def test_the_list_is_filtered_and_paged(program, squares):
    first, second = make_run(squares), ended(make_run(squares), Status.FAILED, failure="It died.")
    ask = lambda query="": [row["id"] for row in program.get(f"/api/runs{query}").json()["results"]]  # noqa: E731
    assert ask() == [second.pk, first.pk] and ask("?order=id") == [first.pk, second.pk]
    assert ask("?status=failed") == ask("?dataset=squares:1&kind=training&status=failed") == [second.pk]
    assert ask("?version=7") == []
    assert ask("?dataset=squares:2") == ask("?dataset=cats") == ask("?name=cats") == []
    later = program.get("/api/runs?page_size=1").json()["next"]
    assert [row["id"] for row in program.get(later).json()["results"]] == [first.pk]
    assert refused(program.get("/api/runs?dataset=squares:x"))[2] == "dataset is NAME, or NAME:NUMBER."
    assert refused(program.get("/api/runs?status=done"))[2].startswith("status is one of queued, running")


def test_a_version_leads_to_its_run(program, squares, tmp_path):
    run = with_version(make_run(squares), tmp_path)
    (row,) = program.get(f"/api/runs?version={run.version_id}").json()["results"]
    assert (row["id"], row["version"], row["version_id"]) == (run.pk, str(run.version), run.version_id)


def test_a_long_list_asks_the_database_no_more_than_a_short_one(program, squares):
    def queries() -> int:
        with CaptureQueriesContext(connection) as asked:
            program.get("/api/runs")
        return len(asked)

    make_run(squares), program.get("/api/runs")  # from here on the key is known
    before = queries()
    for _ in range(5):
        make_run(squares)
    assert queries() == before


def test_a_run_tells_how_far_it_is_and_its_epochs_after_one(program, squares):
    make_run(squares)
    run = TrainingRun.objects.claim_next(device="cpu")
    for number in (1, 2, 3):
        run.epochs.create(
            number=number, loss=1.0, accuracy=0.5, validation_loss=1 / number, validation_top1=0.5, learning_rate=0.1,
            seconds=1.0, images_per_second=20.0, trail=[[1, 0.1, 1.0]],
        )  # fmt: skip
    run.beat(live={"epoch": 4, "remaining_seconds": 12.5}, progress_done=30, progress_total=40)
    body = program.get(f"/api/runs/{run.pk}?after=1").json()
    assert [epoch["number"] for epoch in body["epochs"]] == [2, 3] and body["best"] == 3
    assert (body["status"], body["place"], body["eta_seconds"]) == ("running", None, 12.5)
    assert body["progress"] == {"done": 30, "total": 40} and body["live"]["epoch"] == 4
    assert body["may"] == ["stop", "clone"] and body["recipe"] == run.recipe
    assert refused(program.get(f"/api/runs/{run.pk}?after=-1"))[2] == "after is a whole number that a row has."
    assert refused(program.get("/api/runs/999"))[:2] == (404, "not_found")
    rows = program.get(f"/api/runs/{run.pk}/epochs.csv").text.splitlines()
    assert rows[0].startswith("number,loss,") and len(rows) == 4


def test_a_damaged_run_is_read_all_the_same(program, squares):
    run = ended(make_run(squares), Status.FAILED, recipe="nothing", failure="It died.")
    body = program.get(f"/api/runs/{run.pk}").json()
    assert body["damage"] == "its recipe cannot be read" and body["recipe"] == {} and body["may"] == []
    assert refused(post(program, f"/api/runs/{run.pk}/clone"))[::2] == (
        *(409, f"{run} has a recipe that cannot be read."),
    )


# --- verbs --------------------------------------------------------------------------------------------------------
def test_a_run_is_stopped_resumed_and_cloned(program, squares):
    run = make_run(squares, epochs=4)
    assert post(program, f"/api/runs/{run.pk}/stop").json()["status"] == "stopped"
    assert refused(post(program, f"/api/runs/{run.pk}/stop"))[::2] == (409, f"{run} is stopped already.")
    assert post(program, f"/api/runs/{run.pk}/resume").json()["status"] == "queued"
    assert refused(post(program, f"/api/runs/{run.pk}/resume"))[::2] == (409, f"{run} is queued already.")
    answer = post(program, f"/api/runs/{run.pk}/clone", {"recipe": {"seed": 5}, "name": "again"})
    new = TrainingRun.objects.get(pk=answer.json()["id"])
    assert answer.status_code == 201 and new.recipe == run.recipe | {"seed": 5} and new.name == "again"
    assert new.dataset == squares and new.created_by.username == "ann"


def test_a_clone_refuses_what_does_not_fit(program, squares, tmp_path):
    first = with_version(make_run(squares), tmp_path)
    run = make_run(squares)
    assert refused(post(program, f"/api/runs/{run.pk}/clone", {"recipe": {"epochs": 0}}))[:2] == (422, "invalid_fields")
    TrainingRun.objects.filter(pk=run.pk).update(parent=first)
    answer = post(program, f"/api/runs/{run.pk}/clone", {"recipe": {"architecture": "resnet9"}})
    assert "leave the labels and the network" in refused(answer)[2]
    assert post(program, f"/api/runs/{run.pk}/clone").json()["continue"] == first.pk


def test_a_browser_that_signed_in_needs_the_token(squares):
    user, client = User.objects.create_superuser("eve"), Client(enforce_csrf_checks=True)
    client.force_login(user)
    assert client.get("/api/runs").status_code == 200
    assert refused(post(client, "/api/runs", {"dataset": "squares"}))[:2] == (403, "csrf_failed")
    client.get("/login/")
    token = {"X-CSRFToken": client.cookies["csrftoken"].value}
    assert post(client, "/api/runs", {"dataset": "squares"}, **token).status_code == 201


def test_a_key_that_reads_starts_nothing(squares):
    program = robot("read")
    assert program.get("/api/runs").status_code == 200
    assert refused(post(program, "/api/runs", {"dataset": "squares"}))[:2] == (403, "forbidden")
    looks = robot("train", may=("view_trainingrun",), owner="bob")
    assert looks.get("/api/runs").status_code == 200
    assert refused(post(looks, "/api/runs", {"dataset": "squares"}))[:2] == (403, "forbidden")
