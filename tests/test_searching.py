"""A range test from its claim to its suggestion, with the real process; stopped, killed, and from the command line."""

import json
import os
import signal
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from breedsite import jobs
from classifier.models import ModelVersion
from tests.barriers import after_event
from tests.squares import make_dataset
from tests.test_supervising import Witness, change, training_process
from tests.trainings import RECIPE
from trainer.models import Dataset, TrainingRun
from trainer.models.supervising import device, supervise
from trainer.recipe import Recipe

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(240)]
Status, Kind = TrainingRun.Status, TrainingRun.Kind


@pytest.fixture(autouse=True)
def folders(settings, tmp_path, monkeypatch) -> None:
    for name in ("DATASETS_DIR", "RUNS_DIR", "VERSIONS_DIR", "FEATURES_DIR"):
        setattr(settings, name, tmp_path / name)
    settings.BACKOFF_SECONDS = [0]
    monkeypatch.setattr(jobs.app, "send_task", lambda name, **options: None)


def make_test(dataset: Dataset | None = None, **changes: Any) -> TrainingRun:
    """A queued range test."""
    recipe = Recipe.from_dict(RECIPE | changes)
    return TrainingRun.objects.start(dataset or make_dataset(), recipe, name="squares", kind=Kind.RANGE_TEST)


def claim() -> TrainingRun:
    run = TrainingRun.objects.claim_next(device=device())
    assert run is not None
    return run


def test_it_finds_a_rate_and_trains_with_it_at_a_word():
    run = make_test()
    supervise(claim())
    run.refresh_from_db()
    assert (run.status, run.failure, run.version) == (Status.FINISHED, "", None)
    assert len(run.found["points"]) > 30 and run.progress_done == run.progress_total == 100
    rates = [rate for rate, _, _ in run.found["points"]]
    assert rates == sorted(rates) and rates[0] == 1e-7
    assert 1e-5 < run.suggestion["learning_rate"] == run.suggestion["head_learning_rate"] < 1
    assert run.found["suggestion"] == pytest.approx(run.found["lowest"] / 10, rel=0.1)
    assert not run.may_resume and not run.may_continue and not list(run.folder.glob("attempt-*"))
    assert not run.epochs.exists() and not ModelVersion.objects.exists()
    training = run.suggested()
    assert (training.kind, training.status) == (Kind.TRAINING, Status.QUEUED)
    assert training.recipe == run.recipe | run.suggestion
    assert run.clone().kind == Kind.RANGE_TEST


def test_a_loss_that_bursts_ends_it_and_leaves_no_number_that_is_none():
    run = make_test(clip_norm=0.0, optimizer="sgd", head_learning_rate=1e3)
    supervise(claim())
    run.refresh_from_db()
    assert run.status == Status.FINISHED and len(run.found["points"]) < 100
    json.dumps(run.found, allow_nan=False)
    assert run.found["sentence"]


def test_it_waits_while_a_training_has_the_device():
    dataset = make_dataset()
    TrainingRun.objects.start(dataset, Recipe.from_dict(RECIPE), name="squares")
    claim()
    run = make_test(dataset)
    assert TrainingRun.objects.claim_next(device=device()) is None
    assert run.place == 1


def test_a_stop_keeps_what_was_swept(monkeypatch, tmp_path):
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    after_event(tmp_path, "point")  # or all steps may be done before the stop is heard of
    run = make_test()
    supervise(claim(), say=Witness().at("point", lambda: TrainingRun.objects.get(pk=run.pk).stop()))
    run.refresh_from_db()
    assert run.status == Status.STOPPED and run.suggestion == {} and 0 < len(run.found["points"]) < 100


@pytest.mark.alone
def test_who_is_killed_begins_anew():
    run = make_test()
    supervise(claim(), say=Witness().at("point", lambda: os.kill(training_process(run), signal.SIGKILL)))
    run.refresh_from_db()
    assert (run.status, run.deaths) == (Status.QUEUED, 1)
    supervise(claim())
    run.refresh_from_db()
    assert run.status == Status.FINISHED and run.found["points"][0][0] == 1e-7


# --- the command --------------------------------------------------------------------------------------------------
@pytest.mark.alone
def test_the_command_tells_the_suggestion_and_how_to_train_with_it(capsys):
    make_dataset()
    call_command("findrate", "--dataset", "squares", *change(epochs=2))
    said = capsys.readouterr().out
    run = TrainingRun.objects.get()
    assert (run.kind, run.status, run.recipe["epochs"]) == (Kind.RANGE_TEST, Status.FINISHED, 2)
    rate = run.suggestion["learning_rate"]
    assert f"Suggested learning_rate: {rate:g}" in said and "A tenth of the rate" in said
    assert "manage.py train --dataset squares:1" in said and f"--set learning_rate={rate}" in said


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--dataset", "nothing"], "There is no dataset 'nothing'. Ready: squares:1."),
        (["--dataset", "squares", "--set", "epoch=2"], "Did you mean 'epochs'?"),
        (["--dataset", "squares", "--set", "learning_rate=0", "--set", "head_learning_rate=0"], "must be above 0"),
    ],
)
def test_the_command_says_what_is_wrong_before_anything_starts(words, sentence):
    make_dataset()
    with pytest.raises(CommandError) as refusal:
        call_command("findrate", *words)
    assert sentence in str(refusal.value)
    assert not TrainingRun.objects.exists()
