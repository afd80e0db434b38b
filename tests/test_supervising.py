"""A run from its claim to its version, with the real training process; what is killed, and what is asked to stop."""

import json
import os
import re
import shlex
import signal
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError, transaction
from django.utils import timezone

from breedsite import holding, jobs
from classifier.models import ModelVersion, ModelVersionQuerySet
from tests.processes import gone, running
from tests.squares import make_dataset, make_run
from trainer import answers, tasks
from trainer.models import TrainingRun, attempt
from trainer.models.jobfile import command, write_job
from trainer.models.supervising import device, supervise

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(240)]
Status = TrainingRun.Status


@pytest.fixture(autouse=True)
def folders(settings, tmp_path, monkeypatch) -> None:
    for name in ("DATASETS_DIR", "RUNS_DIR", "VERSIONS_DIR"):
        setattr(settings, name, tmp_path / name)
    settings.BACKOFF_SECONDS = [0]
    monkeypatch.setattr(jobs.app, "send_task", lambda name, **options: None)


class Witness:
    """Hears every event; `at(event, number)` does something the first time it is told."""

    def __init__(self) -> None:
        self.said: list[dict[str, Any]] = []
        self.plans: list[tuple[str, Callable[[], object]]] = []

    def at(self, event: str, do: Callable[[], object]) -> "Witness":
        self.plans.append((event, do))
        return self

    def __call__(self, event: dict[str, Any]) -> None:
        self.said.append(event)
        if self.plans and self.plans[0][0] == event["event"]:
            self.plans.pop(0)[1]()


def claim() -> TrainingRun:
    run = TrainingRun.objects.claim_next(device=device())
    assert run is not None
    return run


def training_process(run: TrainingRun) -> int:
    """The process that trains it now."""
    mark = str(run.folder).encode()
    found = [
        int(folder.name)
        for folder in Path("/proc").glob("[0-9]*")
        if b"trainer.process" in (line := read(folder / "cmdline")) and mark in line and running(int(folder.name))
    ]
    assert len(found) == 1, "one live trainer a run"
    return found[0]


def read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:
        return b""


def test_a_run_becomes_a_candidate_version_with_its_lineage():
    dataset = make_dataset()
    run = make_run(dataset)
    seen: dict[str, Any] = {}

    def look() -> None:
        process = training_process(run)
        seen["nice"] = os.getpriority(os.PRIO_PROCESS, process)
        seen["session"] = os.getsid(process)
        seen["process"] = process

    witness = Witness().at("step", look)
    assert supervise(claim(), say=witness)
    run.refresh_from_db()
    assert (run.status, run.failure) == (Status.FINISHED, "")
    assert run.version is not None and run.version == ModelVersion.objects.get()
    assert not run.version.is_active and str(run.version) == "squares:1"
    origin = run.version.card.origin
    assert origin["dataset_fingerprint"] == dataset.fingerprint and origin["run"] == run.pk
    assert origin["command"].startswith("manage.py train --dataset squares:1 --name squares --set architecture=")
    assert run.version.card.quality.n == 3
    assert [(epoch.number, len(epoch.trail)) for epoch in run.epochs.all()] == [(1, 3), (2, 3), (3, 3)]
    assert run.device == device() and run.finished_at is not None and run.token is None
    assert sorted(answers.read(run.answers)["photo"]) == sorted(dataset.photos.values_list("pk", flat=True))
    assert not list(run.folder.glob("attempt-*")) and (run.folder / "log.txt").read_text() != ""
    assert seen["nice"] == 19 and seen["session"] == seen["process"] and gone([seen["process"]])


def test_a_killed_training_goes_on_and_ends_as_if_nothing_had_been(settings):
    """`kill -9` after the first epoch; and the supervisor of the second attempt has to go in the middle."""
    undisturbed = make_run(make_dataset("calm"))
    supervise(claim())
    run = make_run(make_dataset("storm"))
    witness = Witness().at("epoch", lambda: os.kill(training_process(run), signal.SIGKILL))
    supervise(claim(), say=witness)
    run.refresh_from_db()
    assert (run.status, run.deaths) == (Status.QUEUED, 1)
    witness = Witness().at("step", lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert not supervise(claim(), say=witness), "this process was asked to go"
    run.refresh_from_db()
    assert (run.status, run.token) == (Status.QUEUED, None)
    supervise(claim())
    run.refresh_from_db()
    assert (run.status, run.attempt, run.deaths) == (Status.FINISHED, 3, 0)
    undisturbed.refresh_from_db()
    assert figures(run) == figures(undisturbed)
    weights = "weights.safetensors"
    assert run.version.card.files[weights].sha256 == undisturbed.version.card.files[weights].sha256


def figures(run: TrainingRun) -> list[Any]:
    return list(run.epochs.values_list("number", "loss", "accuracy", "validation_loss", "validation_top1", "trail"))


def test_what_a_person_can_mend_fails_with_its_sentence():
    run = make_run(learning_rate=1e3, head_learning_rate=1e3, clip_norm=0.0)
    supervise(claim())
    run.refresh_from_db()
    assert run.status == Status.FAILED and run.failure.startswith("The loss became NaN at epoch")


def test_a_training_that_diverges_keeps_its_best_epoch(monkeypatch, tmp_path):
    """An infinity in the pictures of one batch after another from the second epoch on."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "def trace(frame, event, argument):\n"
        "    if event == 'call' and frame.f_code.co_name == 'step' and 'images' in frame.f_locals:\n"
        "        if frame.f_locals['self'].epochs_done: frame.f_locals['images'].fill_(float('inf'))\n"
        "sys.setprofile(trace)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    run = make_run()
    supervise(claim())
    run.refresh_from_db()
    assert run.status == Status.FAILED and run.failure.startswith("The loss became NaN at epoch 2, step ")
    assert "Its best epoch was kept" in run.failure
    assert run.version is not None and run.version.card.origin["best_epoch"] == 1
    assert [epoch.number for epoch in run.epochs.all()] == [1]
    assert run.may_continue and list(run.folder.glob("attempt-1/*.checkpoint"))


def test_an_error_that_nobody_foresaw_points_to_the_log(monkeypatch, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "def trace(frame, event, argument):\n"
        "    if frame.f_code.co_name == 'publish': raise KeyError('surprise')\n"
        "sys.setprofile(trace)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    run = make_run(epochs=1)
    supervise(claim())
    run.refresh_from_db()
    assert run.status == Status.FAILED and "the end of its log says which" in run.failure
    assert "surprise" in (run.folder / "log.txt").read_text()


def test_who_was_taken_for_dead_ends_its_training_and_publishes_nothing():
    run = make_run(epochs=40)

    def lose() -> None:
        with transaction.atomic():  # or its heart might beat between the two
            TrainingRun.objects.filter(pk=run.pk).update(heartbeat_at=timezone.now() - timedelta(hours=1))
            TrainingRun.objects.all().take_back(60)

    processes: list[int] = []
    supervise(claim(), say=Witness().at("step", lambda: processes.append(training_process(run))).at("step", lose))
    assert gone(processes)
    run.refresh_from_db()
    assert run.status == Status.QUEUED and not ModelVersion.objects.exists()


def test_an_artifact_that_nobody_heard_of_is_published_without_training_again():
    """The supervisor was killed between the end of the training and its own."""
    run = make_run()
    held = claim()
    supervise_until_candidate(held)
    run.refresh_from_db()
    assert run.status == Status.RUNNING and not ModelVersion.objects.exists()
    TrainingRun.objects.filter(pk=run.pk).update(heartbeat_at=timezone.now() - timedelta(hours=1))
    TrainingRun.objects.all().take_back(60)
    witness = Witness()
    supervise(claim(), say=witness)
    run.refresh_from_db()
    assert run.status == Status.FINISHED and run.version == ModelVersion.objects.get()
    assert len(answers.read(run.answers)) == 30
    assert witness.said == []


def supervise_until_candidate(run: TrainingRun) -> None:
    def die() -> None:
        raise SystemExit(9)

    with pytest.raises(SystemExit):
        supervise(run, say=Witness().at("candidate", die))


def test_the_task_trains_what_waits_one_after_the_other():
    dataset = make_dataset()
    runs = [make_run(dataset, epochs=1), make_run(dataset, epochs=1, seed=2)]
    tasks.train_runs()
    for run in runs:
        run.refresh_from_db()
    assert [run.status for run in runs] == [Status.FINISHED] * 2
    assert [str(run.version) for run in runs] == ["squares:1", "squares:2"]
    assert runs[0].finished_at < runs[1].finished_at


def test_everything_waits_while_the_database_is_away(monkeypatch):
    """The training goes on, its epochs are stored in their order when the database is back, and what it takes to
    begin and to end a run is done then as well."""
    run = make_run()
    failures: list[str] = []

    def away_at_first(owner: type, name: str, times: int) -> None:
        whole = getattr(owner, name)

        def sometimes(*args: Any, **kwargs: Any) -> Any:
            if failures.count(name) < times:
                failures.append(name)
                raise OperationalError("the database is away")
            return whole(*args, **kwargs)

        monkeypatch.setattr(owner, name, sometimes)

    claimed = claim()
    monkeypatch.setattr(holding, "BEAT_SECONDS", 0.01)
    monkeypatch.setattr(attempt, "BEAT_SECONDS", 0.01)
    away_at_first(attempt, "write_job", 2)
    away_at_first(TrainingRun, "record", 5)
    away_at_first(ModelVersionQuerySet, "register", 2)
    away_at_first(TrainingRun, "finish", 2)
    supervise(claimed)
    run.refresh_from_db()
    assert run.status == Status.FINISHED and run.version == ModelVersion.objects.get()
    assert Counter(failures) == {"write_job": 2, "record": 5, "register": 2, "finish": 2}
    assert list(run.epochs.values_list("number", flat=True)) == [1, 2, 3]


def test_an_end_whose_confirmation_was_lost_is_the_end(monkeypatch):
    """The server had committed when the connection broke."""
    run = make_run(epochs=1)
    whole = TrainingRun.finish

    def finish(self: TrainingRun, *args: Any, **changes: Any) -> bool:
        stored = TrainingRun.objects.get(pk=self.pk).status == Status.FINISHED
        done = whole(self, *args, **changes)
        if not stored:
            raise OperationalError("the connection broke")
        return done

    monkeypatch.setattr(TrainingRun, "finish", finish)
    supervise(claim())
    run.refresh_from_db()
    assert run.status == Status.FINISHED and run.version is not None and run.version.path.is_dir()


# --- the command --------------------------------------------------------------------------------------------------
def change(**recipe: Any) -> list[str]:
    from tests.trainings import RECIPE

    return [word for name, value in (RECIPE | recipe).items() for word in ("--set", f"{name}={value}")]


def test_the_command_trains_in_the_foreground_and_names_the_version(capsys):
    make_dataset()
    call_command("train", "--dataset", "squares", "--name", "shapes", *change(epochs=2))
    said = capsys.readouterr().out
    assert "epoch 2: loss" in said and "version shapes:1 is a candidate" in said
    run = TrainingRun.objects.get()
    assert (run.status, run.name, run.recipe["epochs"]) == (Status.FINISHED, "shapes", 2)


def test_on_a_terminal_the_command_tells_how_far_it_is_and_how_long_it_will_take(capsys, monkeypatch):
    make_dataset()
    monkeypatch.setattr("django.core.management.base.OutputWrapper.isatty", lambda self: True)
    call_command("train", "--dataset", "squares", "--no-color", *change(epochs=2))
    captured = capsys.readouterr()
    assert re.search(r"\repoch 2 of 2, step \d+ of \d+, \d+ images/s, about \d+ (seconds|minutes) left", captured.err)
    assert re.search(
        r"is a candidate: top-1 [01]\.\d{4} \([01]\.\d{4} to [01]\.\d{4}\) on \d+ test photos", captured.out
    )


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--dataset", "nothing"], "There is no dataset 'nothing'. Ready: squares:1."),
        (["--dataset", "squares", "--set", "epoch=2"], "A recipe has no field 'epoch'. Did you mean 'epochs'?"),
        (["--dataset", "squares", "--set", "epochs=0"], "epochs must lie between 1"),
        (["--dataset", "squares", "--name", "No Name"], "Use small letters"),
    ],
)
def test_the_command_says_what_is_wrong_before_anything_starts(words, sentence):
    make_dataset()
    with pytest.raises(CommandError) as refusal:
        call_command("train", *words)
    assert sentence in str(refusal.value)
    assert not TrainingRun.objects.exists()


def test_the_command_continues_what_another_run_learnt(artifact_folder, capsys):
    dataset = make_dataset()
    parent = make_run(dataset)
    version = ModelVersion.objects.install(artifact_folder)
    TrainingRun.objects.update(status=Status.FINISHED, version=version)
    for words, sentence in (
        (("--continue", "999"), "no run of this number that has ended with a version"),
        (("--continue", str(parent.pk), "--set", "architecture=resnet18"), "leave the labels and the network"),
    ):
        with pytest.raises(CommandError, match=sentence):
            call_command("train", "--dataset", "squares", *change(), *words)
    make_run(dataset)
    claim()
    words = shlex.split(command(TrainingRun(dataset=dataset, name="squares", recipe=parent.recipe, parent=parent)))
    with pytest.raises(CommandError, match="trains already"):
        call_command(*words[1:])
    run = TrainingRun.objects.order_by("pk").last()
    assert (run.parent, run.recipe) == (parent, parent.recipe)
    assert json.loads(write_job(run, only_publish=False).read_text())["continues"].startswith(str(version.path))


def test_the_command_waits_its_turn_where_a_training_runs():
    dataset = make_dataset()
    make_run(dataset)
    claim()
    with pytest.raises(CommandError, match="trains already"):
        call_command("train", "--dataset", "squares", *change())
    assert TrainingRun.objects.queued().count() == 1


def test_a_run_whose_start_is_gone_says_so_and_starts_from_nothing_else(artifact_folder):
    parent = make_run()
    version = ModelVersion.objects.install(artifact_folder)
    TrainingRun.objects.update(status=Status.FINISHED, version=version)
    parent.refresh_from_db()
    run = parent.continued()
    version.delete()
    supervise(claim())
    run.refresh_from_db()
    assert (run.status, run.failure) == (Status.FAILED, f"The version of {parent}, from which it starts, is gone.")
