"""TrainingRun: its verbs, seen from people and from the process that holds it. No network is trained here."""

import types
from datetime import timedelta

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils import timezone

from breedsite import jobs, reconciling
from classifier.models import ModelVersion
from tests.squares import make_dataset, make_run
from trainer.models import EpochMetric, TrainingRun
from trainer.models.jobfile import command
from trainer.presets import PRESETS
from trainer.recipe import Recipe

pytestmark = pytest.mark.django_db(transaction=True)
Status = TrainingRun.Status
EPOCH = {
    "number": 1, "loss": 1.0, "accuracy": 0.5, "validation_loss": None, "validation_top1": 0.4, "learning_rate": 0.1,
    "skipped_steps": 0, "seconds": 2.0, "images_per_second": 12.0, "trail": [[1, 0.1, 1.0]],
}  # fmt: skip


@pytest.fixture(autouse=True)
def folders(settings, tmp_path) -> None:
    for name in ("DATASETS_DIR", "RUNS_DIR", "VERSIONS_DIR"):
        setattr(settings, name, tmp_path / name)


@pytest.fixture(autouse=True)
def rung(monkeypatch) -> list[str]:
    bells: list[str] = []
    monkeypatch.setattr(jobs.app, "send_task", lambda name, **options: bells.append(name))
    return bells


def claim(device: str = "cpu") -> TrainingRun:
    run = TrainingRun.objects.claim_next(device=device)
    assert run is not None
    return run


def test_a_new_run_waits_and_the_worker_is_rung_for_after_the_commit(rung):
    dataset = make_dataset()
    with transaction.atomic():
        run = make_run(dataset)
        assert rung == []
    assert rung == ["trainer.tasks.train_runs"]
    assert (run.status, run.place, run.fingerprint) == (Status.QUEUED, 1, dataset.fingerprint)


def test_one_training_runs_on_a_device_and_the_next_waits_its_turn():
    dataset = make_dataset()
    first, second = make_run(dataset), make_run(dataset)
    assert claim() == first
    assert TrainingRun.objects.claim_next(device="cpu") is None
    assert claim("cuda:0") == second  # another device is free
    assert first.place is not None
    first.refresh_from_db()
    assert first.finish(Status.FINISHED)
    third = make_run(dataset)
    assert claim() == third


def test_the_database_itself_allows_one_training_a_device():
    dataset = make_dataset()
    make_run(dataset)
    claim()
    with pytest.raises(IntegrityError), transaction.atomic():
        TrainingRun.objects.filter(pk=make_run(dataset).pk).update(status=Status.STOPPING, device="cpu")


def test_an_epoch_is_stored_once_whoever_tells_it_again():
    make_run()
    run = claim()
    assert run.record(EPOCH) and run.record(EPOCH | {"loss": 7.0})
    assert [epoch.loss for epoch in EpochMetric.objects.all()] == [1.0]


def test_who_lost_the_run_stores_no_epoch():
    make_run()
    late = claim()
    TrainingRun.objects.filter(pk=late.pk).update(heartbeat_at=timezone.now() - timedelta(hours=1))
    TrainingRun.objects.all().take_back(60)
    assert not late.record(EPOCH)
    assert not EpochMetric.objects.exists()


def test_only_a_new_epoch_forgives_deaths():
    """Else a run that always dies after its first epoch would start again for ever."""
    make_run()
    for death in (1, 2, 3):
        run = claim()
        assert run.record(EPOCH)
        assert run.died("It was killed.")
        run.refresh_from_db()
        assert (run.status, run.deaths) == (Status.FAILED if death == 3 else Status.QUEUED, min(death, 3))
        TrainingRun.objects.update(due_at=None)


def test_what_a_finished_run_left_behind_is_removed_and_what_another_needs_is_not(settings):
    """Its process was killed between the end of the run and the removal of its checkpoints."""
    dataset = make_dataset()
    finished, waits = make_run(dataset), make_run(dataset)
    assert claim() == finished
    TrainingRun.objects.filter(pk=finished.pk).update(status=Status.FINISHED)
    for name in (str(finished.pk), str(waits.pk), "other"):
        (settings.RUNS_DIR / name / "attempt-2").mkdir(parents=True)
        (settings.RUNS_DIR / name / "log.txt").touch()
    reconciling.reconcile()
    assert {place.parent.name for place in settings.RUNS_DIR.glob("*/attempt-2")} == {str(waits.pk), "other"}
    assert (finished.folder / "log.txt").exists()


# --- stopping -----------------------------------------------------------------------------------------------------
def test_a_queued_run_is_stopped_at_once_and_a_running_one_is_stopping():
    dataset = make_dataset()
    waits, runs = make_run(dataset), make_run(dataset)
    assert waits.stop() and waits.status == Status.STOPPED
    held = claim()
    assert runs == held
    runs.refresh_from_db()
    assert runs.stop() and runs.status == Status.STOPPING
    assert runs.stop() and runs.status == Status.STOPPING
    assert held.beat() and held.stop_requested
    assert held.finish(Status.STOPPED)
    held.refresh_from_db()
    assert not held.stop()


def test_a_stopped_run_goes_on_and_no_other():
    run = make_run()
    assert not run.resume()
    run.stop()
    assert run.may_resume and run.resume() and run.status == Status.QUEUED
    held = claim()
    assert not held.stop_requested
    for end in (Status.FINISHED, Status.FAILED):
        TrainingRun.objects.filter(pk=run.pk).update(status=end)
        run.refresh_from_db()
        assert not run.may_resume and not run.resume() and not run.stop()
        run.refresh_from_db()
        assert run.status == end


@pytest.mark.parametrize("state", ["given back", "killed", "killed after the stop", "paused", "paused after the stop"])
def test_a_stop_of_what_has_an_epoch_lets_somebody_keep_its_best(state: str, rung):
    """Whoever claims it then finds the request and makes a version, instead of training."""
    make_run()
    run = claim()
    run.record(EPOCH)
    asked = TrainingRun.objects.get(pk=run.pk)
    if "after" in state:
        assert asked.stop() and run.beat()
    leave = {
        "given": run.give_back,
        "killed": lambda: run.died("Killed."),
        "paused": lambda: run.pause(2**60, run.folder),
    }
    assert leave[state.split()[0]]()
    rung.clear()
    if "after" not in state:
        assert asked.stop() and asked.stop()  # twice is once
        assert rung and TrainingRun.objects.due().exists()  # there is nothing to wait for
    asked.refresh_from_db()
    assert asked.stop_requested and asked.status == (
        Status.PAUSED if state == "paused after the stop" else Status.QUEUED
    )
    if asked.status == Status.PAUSED:
        assert "Its best epoch becomes a version when there is room." in asked.failure
    else:
        TrainingRun.objects.update(due_at=None)
        assert claim().stop_requested


def test_a_run_that_waits_for_space_without_an_epoch_ends_with_the_stop_that_came_before():
    make_run()
    run = claim()
    TrainingRun.objects.get().stop()
    assert run.pause(2**60, run.folder) and run.status == Status.STOPPED
    run.refresh_from_db()
    assert (run.status, run.failure) == (Status.STOPPED, "") and run.finished_at is not None


def test_who_keeps_dying_over_the_best_epoch_of_a_stopped_run_ends_it():
    make_run()
    run = claim()
    run.record(EPOCH)
    run.stop()
    for death in range(1, 2 * jobs.MAX_DEATHS + 1):
        run.refresh_from_db()
        assert run.died("It was killed.")
        run.refresh_from_db()
        assert (run.status, run.deaths) == (Status.STOPPED if death == 6 else Status.QUEUED, death)
        TrainingRun.objects.update(due_at=None)
        TrainingRun.objects.claim_next(device="cpu")
    assert run.failure == "It died 6 times. It was killed."


# --- space --------------------------------------------------------------------------------------------------------
def test_a_run_without_space_waits_until_there_is_some(monkeypatch):
    make_run()
    run = claim()
    monkeypatch.setattr("shutil.disk_usage", lambda _: types.SimpleNamespace(free=3_000_000))
    assert run.pause(50_000_000, run.folder)
    run.refresh_from_db()
    assert run.status == Status.PAUSED and "it needs 50 MB, 3 MB are free" in run.failure
    for free, status in ((49_999_999, Status.PAUSED), (50_000_000, Status.QUEUED)):
        monkeypatch.setattr("shutil.disk_usage", lambda _, free=free: types.SimpleNamespace(free=free))
        reconciling.reconcile()
        run.refresh_from_db()
        assert run.status == status
    assert run.failure == ""


def test_a_run_without_space_can_be_stopped():
    make_run()
    run = claim()
    run.pause(2**60, run.folder)
    run.refresh_from_db()
    assert run.stop() and run.status == Status.STOPPED


# --- again --------------------------------------------------------------------------------------------------------
def test_a_clone_is_the_same_run_anew():
    run = make_run(epochs=7)
    twin = run.clone()
    assert twin != run and twin.status == Status.QUEUED
    assert (twin.recipe, twin.dataset, twin.name, twin.parent) == (run.recipe, run.dataset, run.name, None)


def test_what_is_made_of_a_continued_run_begins_with_the_same_weights():
    parent = make_run()
    run = TrainingRun.objects.start(parent.dataset, Recipe.from_dict(parent.recipe), name="squares", parent=parent)
    TrainingRun.objects.filter(pk=run.pk).update(found={"changes": {"learning_rate": 0.5}})
    run.refresh_from_db()
    assert run.clone().parent == parent and run.suggested().parent == parent
    assert command(run).endswith(f" --continue {parent.pk}") and "--continue" not in command(parent)


def test_a_finished_run_with_a_version_is_continued_by_a_child(artifact_folder):
    make_run()
    run = claim()
    assert not run.may_continue
    run.finish(Status.FINISHED, version=ModelVersion.objects.install(artifact_folder))
    assert run.may_continue
    child = run.continued()
    assert child.parent == run and child.recipe == run.recipe


def test_a_run_tells_what_it_changed_of_its_preset():
    name = sorted(PRESETS)[0]
    recipe = Recipe.from_dict(PRESETS[name].as_dict() | {"seed": 7})
    run = TrainingRun.objects.start(make_dataset(), recipe, name="squares", preset=name)
    assert run.changes == {"seed": 7}


@pytest.mark.parametrize("name", ["", "Dogs", "a b", "../x", "a" * 65])
def test_a_name_that_no_version_can_bear_is_refused(name):
    run = make_run()
    run.name = name
    with pytest.raises(ValidationError):
        run.full_clean()
