"""Runs in the admin: started from a form, watched, told what to do, compared. What trains is another test's matter."""

import csv
import json
import re
from uuid import uuid4

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from breedsite import health, jobs
from breedsite.models import Worker
from classifier.models import ModelVersion
from tests.squares import make_dataset, make_run
from tests.trainings import RECIPE
from trainer.admin.recipe_form import GROUPS, RunForm
from trainer.models import Dataset, TrainingRun
from trainer.presets import CATALOGUE
from trainer.recipe import Recipe, fields

pytestmark = pytest.mark.django_db
LIST = reverse("admin:trainer_trainingrun_changelist")
ADD = reverse("admin:trainer_trainingrun_add")
Status = TrainingRun.Status


@pytest.fixture(autouse=True)
def folders(settings, tmp_path, monkeypatch) -> None:
    for name in ("DATASETS_DIR", "RUNS_DIR", "VERSIONS_DIR"):
        setattr(settings, name, tmp_path / name)
    monkeypatch.setattr(jobs.app, "send_task", lambda name, **options: None)


def page(name: str, run: TrainingRun, *more: str) -> str:
    return reverse(f"admin:trainer_trainingrun_{name}", args=[run.pk, *more])


def do(client: Client, verb: str, run: TrainingRun):
    return client.post(page("do", run, verb))


FOUND = {
    "points": [[1e-7 * 10 ** (step / 12), 2.0 - step / 100, 2.0] for step in range(90)] + [[1.0, None, None]],
    "lowest": 0.02, "steepest": 0.004, "suggestion": 0.002, "sentence": "A tenth of the rate at which it is smallest.",
    "changes": {"learning_rate": 0.002, "head_learning_rate": 0.006},
}  # fmt: skip


def make_range_test(dataset: Dataset, **found: object) -> TrainingRun:
    """One that has ended."""
    recipe = Recipe.from_dict(RECIPE)
    run = TrainingRun.objects.start(dataset, recipe, name="squares", kind=TrainingRun.Kind.RANGE_TEST)
    TrainingRun.objects.filter(pk=run.pk).update(status=Status.FINISHED, found=FOUND | found)
    run.refresh_from_db()
    return run


def epoch(run: TrainingRun, number: int, loss: float | None) -> None:
    run.epochs.create(
        number=number, loss=loss, accuracy=0.5, validation_loss=loss, validation_top1=number / 10, learning_rate=0.1,
        seconds=1.0, images_per_second=20.0, trail=[[1, 0.1, 1.0]],
    )  # fmt: skip


@pytest.fixture
def claimed(db) -> TrainingRun:
    """A run that a process holds, with three epochs."""
    make_run()
    run = TrainingRun.objects.claim_next(device="cpu")
    for number, loss in enumerate((3.0, 1.0, 2.0), start=1):
        epoch(run, number, loss)
    return run


# --- starting -----------------------------------------------------------------------------------------------------
def answers(**changes: object) -> dict[str, object]:
    """What a browser sends when nothing was changed but these."""
    return Recipe.from_dict(RECIPE).as_dict() | {"preset": "transfer"} | changes


def test_the_form_shows_every_field_of_a_recipe_with_its_help_unit_and_bounds(admin_client):
    make_dataset()
    text = admin_client.get(ADD).content.decode()
    for field in fields():
        assert f'name="{field.name}"' in text
    assert "Passes over the training photos. 1 to 10000 epochs." in text
    assert "squares:1" in text and "<h2>The network</h2>" not in text
    assert all(f"<summary>{title}</summary>" in text for title in GROUPS.values())


def test_every_field_stands_in_a_group():
    shown = [field.name for _, group in RunForm().groups() for field in group]
    assert shown == [field.name for field in fields()]
    assert [title for title, _ in RunForm().groups()] == list(GROUPS.values())


@pytest.mark.parametrize("preset", CATALOGUE)
def test_every_preset_fills_the_form_in_and_starts_as_it_is(admin_client, preset: str):
    dataset = make_dataset()
    form = admin_client.get(ADD, {"preset": preset}).context["form"]
    assert {name: form[name].value() for name in CATALOGUE[preset].recipe.as_dict()} == CATALOGUE[
        preset
    ].recipe.as_dict()
    sent = {name: form[name].value() for name in form.fields} | {"dataset": dataset.pk, "name": ""}
    response = admin_client.post(ADD, sent)
    run = TrainingRun.objects.get()
    assert (response.status_code, response.url) == (302, page("change", run))
    assert (run.status, run.preset, run.changes, run.name) == (Status.QUEUED, preset, {}, "squares")
    assert run.created_by.username == "admin" and run.fingerprint == dataset.fingerprint


def test_a_preset_that_does_not_exist_is_not_found(admin_client):
    assert admin_client.get(ADD, {"preset": "nothing"}).status_code == 404


def test_what_was_changed_is_trained(admin_client):
    dataset = make_dataset()
    admin_client.post(ADD, answers(dataset=dataset.pk, name="shapes", epochs=5, precision="bfloat16"))
    run = TrainingRun.objects.get()
    assert (run.name, run.recipe["epochs"], run.recipe["precision"]) == ("shapes", 5, "bfloat16")


def test_a_form_that_is_sent_twice_starts_one_run(admin_client):
    """A double click, a reload, a browser that asks again."""
    dataset = make_dataset()
    key = admin_client.get(ADD).context["form"]["key"].value()
    for _ in range(3):
        response = admin_client.post(ADD, answers(dataset=dataset.pk, key=key))
    run = TrainingRun.objects.get()
    assert response.url == page("change", run) and str(run.key) == str(key)
    admin_client.post(ADD, answers(dataset=dataset.pk, key=admin_client.get(ADD).context["form"]["key"].value()))
    assert TrainingRun.objects.count() == 2


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"epochs": 0}, "epochs"),
        ({"epochs": "many"}, "epochs"),
        ({"learning_rate": "nan"}, "learning_rate"),
        ({"architecture": "resnet9000"}, "architecture"),
        ({"optimizer": "magic"}, "optimizer"),
        ({"name": "No Name"}, "name"),
        ({"dataset": 99}, "dataset"),
    ],
)
def test_a_wrong_value_is_refused_by_its_name_and_nothing_starts(admin_client, changes, field):
    response = admin_client.post(ADD, answers(dataset=make_dataset().pk) | changes)
    assert response.status_code == 200
    assert list(response.context["form"].errors) == [field]
    assert not TrainingRun.objects.exists()


def test_without_a_dataset_the_form_says_what_to_do_first(admin_client):
    assert "import photos" in admin_client.get(ADD).content.decode()


# --- looking for a learning rate ----------------------------------------------------------------------------------
def test_the_form_s_other_button_looks_for_a_rate_and_then_trains(admin_client):
    dataset = make_dataset()
    key = str(uuid4())
    for _ in range(2):
        response = admin_client.post(ADD, answers(dataset=dataset.pk, key=key, find="Find a learning rate"))
    test = TrainingRun.objects.get()
    assert (test.kind, test.status) == (TrainingRun.Kind.RANGE_TEST, Status.QUEUED)
    assert response.url == page("change", test)
    admin_client.post(ADD, answers(dataset=dataset.pk, key=key))  # back, and the same form once more
    assert TrainingRun.objects.get(kind=TrainingRun.Kind.TRAINING).recipe == test.recipe


def test_a_recipe_without_a_rate_to_vary_is_refused_by_its_name(admin_client):
    wrong = answers(dataset=make_dataset().pk, learning_rate=0, head_learning_rate=0)
    assert admin_client.post(ADD, wrong | {"find": "1"}).context["form"].errors.keys() == {"learning_rate"}
    assert not TrainingRun.objects.exists()


def test_one_click_trains_at_the_suggested_rate(admin_client):
    test = make_range_test(make_dataset())
    text = admin_client.get(page("change", test)).content.decode()
    assert "A tenth of the rate" in text and "Train with it" in text and text.count('<th scope="row">1') > 3
    state = admin_client.get(page("state", test)).json()
    assert state["found"]["points"][-1] == [1.0, None, None] and state["verbs"][:2] == ["train", "clone"]
    response = do(admin_client, "train", test)
    training = TrainingRun.objects.get(kind=TrainingRun.Kind.TRAINING)
    assert response.url == page("change", training)
    assert training.recipe == test.recipe | FOUND["changes"]


def test_a_test_that_found_nothing_suggests_nothing(admin_client):
    test = make_range_test(make_dataset(), changes={}, suggestion=None, sentence="The loss fell at no rate.")
    assert "train" not in admin_client.get(page("state", test)).json()["verbs"]
    do(admin_client, "train", test)
    assert TrainingRun.objects.count() == 1
    assert "fell at no rate" in admin_client.get(page("change", test)).content.decode()


def test_a_range_test_is_listed_exported_and_not_compared(admin_client, claimed):
    test = make_range_test(claimed.dataset)
    text = admin_client.get(LIST).content.decode()
    assert "suggests 0.002" in text and "range test" in text
    rows = list(csv.DictReader(admin_client.get(page("csv", test)).content.decode().splitlines()))
    assert (len(rows), rows[0]["loss"], rows[-1]["loss"]) == (91, "2.0", "")
    assert json.loads(admin_client.get(page("json", test)).content)["found"]["suggestion"] == 0.002
    response = admin_client.get(reverse("admin:trainer_trainingrun_compare"), {"runs": f"{claimed.pk},{test.pk}"})
    assert response.status_code == 302


# --- watching -----------------------------------------------------------------------------------------------------
def test_the_state_tells_the_epochs_after_one_and_the_best_of_all(admin_client, claimed):
    claimed.beat(live={"epoch": 4, "number": 2}, progress_done=11, progress_total=30)
    state = admin_client.get(page("state", claimed), {"after": "2"}).json()
    assert [one["number"] for one in state["epochs"]] == [3]
    assert (state["best"], state["status"], state["active"]) == (2, "running", True)
    assert (state["live"], state["done"], state["total"]) == ({"epoch": 4, "number": 2}, 11, 30)
    assert state["verbs"] == ["stop", "clone", "adjust"]
    assert len(admin_client.get(page("state", claimed), {"after": "-1; DROP"}).json()["epochs"]) == 3


def test_a_queued_run_shows_its_place(admin_client, monkeypatch):
    dataset = make_dataset()
    make_run(dataset)
    second = make_run(dataset)
    monkeypatch.setattr("breedsite.waiting.queue_state", lambda: "ok")
    assert admin_client.get(page("state", second)).json()["place"] == 2
    assert "No worker is running" in admin_client.get(LIST).content.decode()
    Worker.objects.beat()
    text = admin_client.get(LIST).content.decode()
    assert "number 2 in the queue" in text and "No worker is running" not in text


def test_a_queue_that_is_unreachable_is_said_wherever_the_run_is_shown(admin_client, settings):
    settings.BROKER_URL = "redis+socket:///nowhere/valkey.sock"
    health.queue_state.forget()
    run = make_run()
    sentence = "The queue is unreachable; the run will start by itself."
    for address in (LIST, page("change", run), page("state", run)):
        assert sentence in admin_client.get(address).content.decode()
    assert "The queue is unreachable" in admin_client.get("/admin/").content.decode()
    health.queue_state.forget()


def test_the_page_is_whole_without_javascript(admin_client, claimed):
    claimed.folder.mkdir(parents=True)
    (claimed.folder / "log.txt").write_text("a line\n<b>another</b>\n")
    text = admin_client.get(page("change", claimed)).content.decode()
    assert "running" in text and text.count('<th scope="row">') > 3
    assert "&lt;b&gt;another&lt;/b&gt;" in text and "<b>another" not in text
    assert not re.search(r"<script(?![^>]*\bsrc=)|\son\w+=|\sstyle=", text[text.index('id="content-main"') :])


def test_a_failure_is_told_in_words(admin_client, claimed):
    claimed.finish(Status.FAILED, "The loss became NaN at epoch 2, step 31.")
    for address in (page("change", claimed), page("state", claimed)):
        assert "The loss became NaN at epoch 2, step 31." in admin_client.get(address).content.decode()


def test_a_run_whose_figures_are_not_finite_is_shown(admin_client, claimed):
    epoch(claimed, 4, None)
    claimed.finish(Status.FINISHED)
    assert admin_client.get(LIST).status_code == admin_client.get(page("change", claimed)).status_code == 200
    assert admin_client.get(page("state", claimed), {"after": "3"}).json()["epochs"][0]["loss"] is None


def test_the_list_shows_the_best_epoch_and_a_curve(admin_client, claimed):
    text = admin_client.get(LIST).content.decode()
    assert "20.0 % (epoch 2)" in text and '<svg class="small-curve"' in text


def test_a_longer_list_asks_the_database_no_more(admin_client, claimed):
    """Queued rows with their place, trained ones with their curve, range tests with theirs."""

    def count() -> int:
        with CaptureQueriesContext(connection) as queries:
            text = admin_client.get(LIST).content.decode()
        assert "number 1 in the queue" in text
        return len(queries)

    def more(number: int) -> None:
        for _ in range(number):
            make_run(claimed.dataset)
            done = make_run(claimed.dataset)
            for one in (1, 2, 3):
                epoch(done, one, 1 / one)
            TrainingRun.objects.filter(pk=done.pk).update(status=Status.FINISHED)
            make_range_test(claimed.dataset)

    more(1)
    before = count()
    more(7)
    assert count() == before


def test_the_list_tells_the_place_of_each_run(admin_client, claimed):
    runs = [make_run(claimed.dataset) for _ in range(3)]
    text = admin_client.get(LIST).content.decode()
    assert [f"number {run.place} in the queue" in text for run in runs] == [True] * 3


def test_everything_is_there_as_csv_and_json(admin_client, claimed):
    rows = list(csv.DictReader(admin_client.get(page("csv", claimed)).content.decode().splitlines()))
    assert [(row["number"], row["validation_loss"]) for row in rows] == [("1", "3.0"), ("2", "1.0"), ("3", "2.0")]
    whole = json.loads(admin_client.get(page("json", claimed)).content)
    assert whole["recipe"] == claimed.recipe and len(whole["epochs"]) == 3 and whole["status"] == "running"


# --- the buttons --------------------------------------------------------------------------------------------------
def test_stop_and_resume(admin_client, claimed):
    assert do(admin_client, "stop", claimed).status_code == 302
    assert claimed.beat() and claimed.stop_requested
    claimed.finish(Status.STOPPED)
    do(admin_client, "resume", claimed)
    claimed.refresh_from_db()
    assert claimed.status == Status.QUEUED


def test_clone_and_continue_make_new_runs(admin_client, claimed, artifact_folder):
    do(admin_client, "clone", claimed)
    assert TrainingRun.objects.count() == 2
    do(admin_client, "continue", claimed)  # it has no version yet: nothing happens
    assert TrainingRun.objects.count() == 2
    claimed.finish(Status.FINISHED, version=ModelVersion.objects.install(artifact_folder))
    do(admin_client, "continue", claimed)
    assert TrainingRun.objects.get(parent=claimed).status == Status.QUEUED
    text = admin_client.get(page("change", claimed)).content.decode()
    assert "tiny:1" in text


def test_a_run_that_failed_is_offered_again_at_a_smaller_rate(admin_client, claimed, artifact_folder):
    """From the epoch that was kept."""
    version = ModelVersion.objects.install(artifact_folder)
    claimed.finish(Status.FAILED, "The loss became NaN at epoch 4.", version=version)
    assert admin_client.get(page("state", claimed)).json()["verbs"] == ["clone", "adjust", "continue"]
    form = do(admin_client, "adjust", claimed)
    assert form.status_code == 302
    shown = admin_client.get(form.url)
    text = shown.content.decode()
    assert f"It goes on from the best epoch of run {claimed.pk}." in text
    initial = shown.context["form"].initial
    assert initial["learning_rate"] == pytest.approx(RECIPE["learning_rate"] / 10)
    sent = answers(dataset=claimed.dataset.pk, parent=claimed.pk, learning_rate=initial["learning_rate"])
    admin_client.post(ADD, sent)
    new = TrainingRun.objects.exclude(pk=claimed.pk).get()
    assert (new.parent, new.recipe["learning_rate"]) == (claimed, initial["learning_rate"])
    refused = admin_client.post(ADD, sent | {"architecture": "resnet18"})
    assert "leave the labels and the network as they are there" in refused.content.decode()
    assert TrainingRun.objects.count() == 2


def test_what_continues_a_run_is_offered_again_from_the_same_start(admin_client, claimed, artifact_folder):
    claimed.finish(Status.FINISHED, version=ModelVersion.objects.install(artifact_folder))
    child = claimed.continued()
    shown = admin_client.get(do(admin_client, "adjust", child).url)
    assert shown.context["form"].initial["parent"] == claimed.pk
    assert (
        f"the best epoch of run {claimed.pk}." in shown.content.decode() and "that failed" not in shown.content.decode()
    )
    TrainingRun.objects.filter(pk=claimed.pk).update(version=None)
    assert admin_client.get(do(admin_client, "adjust", child).url).context["form"].initial["parent"] == ""


@pytest.mark.parametrize("verb", ["stop", "resume"])
def test_an_end_stays_the_end_whatever_is_pressed(admin_client, claimed, verb):
    claimed.finish(Status.FAILED, "So it was.")
    assert do(admin_client, verb, claimed).status_code == 302
    claimed.refresh_from_db()
    assert (claimed.status, claimed.failure) == (Status.FAILED, "So it was.")


def test_an_unknown_verb_is_not_found_and_a_get_does_nothing(admin_client, claimed):
    assert do(admin_client, "explode", claimed).status_code == 404
    assert admin_client.get(page("do", claimed, "stop")).status_code == 405


def test_who_may_only_look_cannot_touch(client, claimed):
    viewer = User.objects.create_user("viewer", is_staff=True)
    viewer.user_permissions.add(Permission.objects.get(codename="view_trainingrun"))
    client.force_login(viewer)
    assert client.get(page("change", claimed)).status_code == 200
    assert client.get(page("state", claimed)).json()["verbs"] == []
    assert do(client, "stop", claimed).status_code == 403
    assert client.get(ADD).status_code == client.post(ADD, {}).status_code == 403


# --- comparing ----------------------------------------------------------------------------------------------------
def test_two_runs_are_compared_and_what_differs_is_marked(admin_client):
    dataset = make_dataset()
    runs = [make_run(dataset), make_run(dataset, epochs=9)]
    selected = {"action": "compare", "_selected_action": [run.pk for run in runs]}
    response = admin_client.post(LIST, selected, follow=True)
    text = response.content.decode()
    assert [run for run, _ in response.context["runs"]] == runs
    marked = re.findall(r'<tr class="differs"><th scope="row">(\w+)</th>', text)
    assert marked == ["epochs"]


@pytest.mark.parametrize("runs", ["", "1", "x,y", "1,2,3,4,5,6,7,8,9", f"1,{10**20}"])
def test_fewer_than_two_runs_cannot_be_compared(admin_client, runs):
    response = admin_client.get(reverse("admin:trainer_trainingrun_compare"), {"runs": runs})
    assert (response.status_code, response.url) == (302, LIST)
