"""A run that a person stops, with the real training process: whatever comes between, it keeps the best it has."""

import os
import signal
import time
from datetime import timedelta

import pytest
from django.utils import timezone

from breedsite import jobs
from classifier.models import ModelVersion
from tests.squares import make_run
from tests.test_supervising import Witness, claim
from trainer.models import TrainingRun
from trainer.models.attempt import NO_SPACE, Attempt
from trainer.models.supervising import supervise

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(240)]
Status = TrainingRun.Status


@pytest.fixture(autouse=True)
def folders(settings, tmp_path, monkeypatch) -> None:
    for name in ("DATASETS_DIR", "RUNS_DIR", "VERSIONS_DIR"):
        setattr(settings, name, tmp_path / name)
    settings.BACKOFF_SECONDS = [0]
    monkeypatch.setattr(jobs.app, "send_task", lambda name, **options: None)


def stop(run: TrainingRun) -> None:
    """As a page does, which has read the row anew."""
    assert TrainingRun.objects.get(pk=run.pk).stop()


def go() -> None:
    """Ask this process to go."""
    os.kill(os.getpid(), signal.SIGTERM)


def die() -> None:
    raise SystemExit(9)


def test_a_stop_keeps_the_best_weights_and_resume_replaces_the_candidate():
    """Within ten seconds nothing trains any more."""
    run = make_run(epochs=40)
    asked: list[float] = []

    def ask() -> None:
        asked.append(time.monotonic())
        stop(run)

    supervise(claim(), say=Witness().at("epoch", ask))
    run.refresh_from_db()
    assert (run.status, run.failure) == (Status.STOPPED, "")
    first = run.version
    assert first is not None and run.epochs.count() < 40
    left = [file.stat().st_mtime for file in run.folder.glob("attempt-1/*.checkpoint")]
    assert max(left) - (time.time() - (time.monotonic() - asked[0])) < 10
    assert run.resume()
    supervise(claim(), say=Witness().at("epoch", ask))
    run.refresh_from_db()
    assert run.status == Status.STOPPED and run.version != first
    assert list(ModelVersion.objects.all()) == [run.version]
    assert [folder.name for folder in run.version.path.parent.iterdir()] == [run.version.folder]


def test_a_stop_before_the_first_epoch_leaves_no_version():
    run = make_run(epochs=40)
    supervise(claim(), say=Witness().at("started", lambda: stop(run)))
    run.refresh_from_db()
    assert run.status == Status.STOPPED
    assert run.version is None or run.epochs.exists()  # the first epoch may have been quicker


@pytest.mark.parametrize("supervisor", ["went", "was killed before the stop", "was killed after it"])
def test_a_stop_while_nobody_trains_gives_a_candidate_of_the_best(supervisor: str):
    run = make_run(epochs=40)
    if supervisor == "went":
        assert not supervise(claim(), say=Witness().at("epoch", lambda: None).at("step", go))
    else:
        with pytest.raises(SystemExit):
            supervise(claim(), say=Witness().at("epoch", lambda: None).at("step", die))
        if supervisor == "was killed after it":
            stop(run)
        TrainingRun.objects.filter(pk=run.pk).update(heartbeat_at=timezone.now() - timedelta(hours=1))
        TrainingRun.objects.all().take_back(60)
    if supervisor != "was killed after it":
        stop(run)
    run.refresh_from_db()
    epochs = run.epochs.count()
    assert (run.status, run.version) == (Status.QUEUED, None) and 0 < epochs < 40
    witness = Witness()
    supervise(claim(), say=witness)
    run.refresh_from_db()
    assert (run.status, run.failure, run.epochs.count()) == (Status.STOPPED, "", epochs)
    assert run.version is not None and run.version == ModelVersion.objects.get()
    assert "step" not in {event["event"] for event in witness.said}
    assert run.resume() and not run.stop_requested


def test_a_worker_that_goes_while_a_stopped_run_publishes_leaves_that_to_the_next():
    run = make_run(epochs=40)
    assert not supervise(claim(), say=Witness().at("epoch", lambda: stop(run)).at("asking", go))
    run.refresh_from_db()
    assert (run.status, run.failure, run.version, run.stop_requested) == (Status.QUEUED, "", None, True)
    supervise(claim())
    run.refresh_from_db()
    assert (run.status, run.failure) == (Status.STOPPED, "") and run.version is not None


@pytest.mark.parametrize("epochs", [False, True])
def test_a_stop_whose_checkpoint_finds_no_room_is_a_stop(epochs: bool, monkeypatch):
    run = make_run(epochs=40)
    if epochs:
        supervise(claim(), say=Witness().at("epoch", go))
    whole = Attempt.train

    def train(self: Attempt, *, only_publish: bool) -> int:
        if only_publish:
            return whole(self, only_publish=True)
        stop(run)
        self.heart.stop_requested, self.last = True, {"event": "no_space", "needs_bytes": 2**60}
        return NO_SPACE

    monkeypatch.setattr(Attempt, "train", train)
    supervise(claim())
    run.refresh_from_db()
    assert (run.status, run.failure, run.version is not None) == (Status.STOPPED, "", epochs)


def test_a_stop_of_what_can_train_no_more_says_why_no_version_came_of_it():
    run = make_run(epochs=40)
    supervise(claim(), say=Witness().at("epoch", go))
    TrainingRun.objects.update(fingerprint="00" * 32)
    stop(run)
    supervise(claim())
    run.refresh_from_db()
    assert run.status == Status.STOPPED and "is not what the run was started with" in run.failure
