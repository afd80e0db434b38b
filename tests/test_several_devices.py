"""Runs on several devices: by settings alone, from the claim to the version, and never two on one device."""

import json
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.urls import reverse
from django.utils import timezone

from breedsite import jobs
from classifier import devices as machine
from classifier.devices import grouped
from tests import trainings
from tests.processes import children, gone
from tests.squares import make_dataset, make_run
from trainer.models import Seat, TrainingRun, supervising
from trainer.models.jobfile import write_job
from trainer.models.supervising import devices, supervise

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(240)]
Status = TrainingRun.Status
HOST = os.uname().nodename


@pytest.fixture(autouse=True)
def folders(settings, tmp_path, monkeypatch) -> None:
    for name in ("DATASETS_DIR", "RUNS_DIR", "VERSIONS_DIR"):
        setattr(settings, name, tmp_path / name)
    settings.BACKOFF_SECONDS = [0]
    settings.TORCH_DEVICE = "cpu"
    monkeypatch.setattr(jobs.app, "send_task", lambda name, **options: None)


@pytest.mark.parametrize(
    ("count", "number", "found"),
    [
        (4, "1", ["cuda:0", "cuda:1", "cuda:2", "cuda:3"]),
        (4, "2", ["cuda:0+cuda:1", "cuda:2+cuda:3"]),
        (3, "2", ["cuda:0+cuda:1", "cuda:2"]),
        (3, "all", ["cuda:0+cuda:1+cuda:2"]),
        (2, "4", ["cuda:0+cuda:1"]),
    ],
)
def test_the_devices_of_a_machine_are_grouped_and_none_is_left_idle(settings, monkeypatch, count, number, found):
    monkeypatch.setattr(machine, "cuda_devices", lambda: count)
    settings.TORCH_DEVICE, settings.DEVICES_PER_RUN = "auto", number
    assert devices() == [f"{HOST} {names}" for names in found]


@pytest.mark.parametrize(
    ("device", "number", "place"),
    [("cpu", "2", "cpu+cpu"), ("cpu", "all", "cpu"), ("auto", "8", "cpu"), ("cpu", "1", "cpu")],
)
def test_processes_share_a_processor_where_that_was_asked_for(settings, monkeypatch, device, number, place):
    """Not where a GPU is missing."""
    monkeypatch.setattr(machine, "cuda_devices", lambda: 0)
    settings.TORCH_DEVICE, settings.DEVICES_PER_RUN = device, number
    assert devices() == [f"{HOST} {place}"]


def test_more_devices_than_there_are_is_said(caplog):
    grouped(("cuda:0", "cuda:1"), "3")
    assert "3 devices shall work together, and there are 2" in caplog.text


def test_a_run_on_several_devices_keeps_others_from_each_of_them(settings):
    """Whatever the settings of whoever asks next, and until it is given back."""
    dataset = make_dataset()
    first, second, third = (make_run(dataset) for _ in range(3))
    claim = TrainingRun.objects.claim_next
    held = claim(device="here cuda:0+cuda:1")
    assert held == first
    for taken in ("here cuda:1", "here cuda:0", "here cuda:1+cuda:2", "here cuda:0+cuda:1"):
        assert claim(device=taken) is None
    assert claim(device="here cuda:2+cuda:3") == second
    assert claim(device="there cuda:0+cuda:1") == third
    assert held.give_back()
    assert claim(device="here cuda:1") == first
    assert claim(device="here cuda:2") is None
    assert sorted(Seat.objects.values_list("device", "run")) == [
        ("here cuda:0", first.pk), ("here cuda:1", first.pk), ("here cuda:2", second.pk), ("here cuda:3", second.pk),
        ("there cuda:0", third.pk), ("there cuda:1", third.pk),
    ]  # fmt: skip


def test_the_devices_of_a_run_whose_process_is_silent_are_free_when_it_is_taken_back():
    dataset = make_dataset()
    first, second = make_run(dataset), make_run(dataset)
    claim = TrainingRun.objects.claim_next
    lost = claim(device="here cuda:0+cuda:1")
    TrainingRun.objects.filter(pk=first.pk).update(heartbeat_at=timezone.now() - timedelta(hours=1))
    assert claim(device="here cuda:1") is None
    TrainingRun.objects.all().take_back(60)
    TrainingRun.objects.filter(pk=first.pk).update(due_at=None)
    assert claim(device="here cuda:1") == first
    assert not lost.beat()
    assert claim(device="here cuda:0") == second


def test_a_claim_that_finds_one_of_its_devices_taken_takes_none():
    dataset = make_dataset()
    first, second = make_run(dataset), make_run(dataset)
    claim = TrainingRun.objects.claim_next
    assert claim(device="here cuda:1") == first
    assert claim(device="here cuda:0+cuda:1") is None
    second.refresh_from_db()
    assert (second.status, second.attempt, second.token) == (Status.QUEUED, 0, None)
    assert claim(device="here cuda:0") == second


def test_of_claims_at_the_same_moment_no_two_get_a_device_in_common():
    dataset = make_dataset()
    places = ["here cuda:0+cuda:1", "here cuda:1+cuda:2", "here cuda:2+cuda:3", "here cuda:0", "here cuda:3"]
    for _ in range(3):
        TrainingRun.objects.all().delete()
        for _ in places:
            make_run(dataset)
        together = threading.Barrier(len(places))

        def claim(place: str, together: threading.Barrier = together) -> str | None:
            try:
                together.wait()
                return place if TrainingRun.objects.claim_next(device=place) else None
            finally:
                connection.close()

        with ThreadPoolExecutor(len(places)) as pool:
            won = list(filter(None, pool.map(claim, places)))
        taken = [device for place in won for device in place.removeprefix("here ").split("+")]
        assert won and len(taken) == len(set(taken))


def test_the_job_names_every_device(settings, monkeypatch):
    monkeypatch.setattr(machine, "cuda_devices", lambda: 2)
    settings.TORCH_DEVICE, settings.DEVICES_PER_RUN = "auto", "all"
    make_run()
    run = supervising.claim()
    assert run is not None
    assert json.loads(write_job(run, only_publish=False).read_text())["device"] == "cuda:0+cuda:1"
    assert run.trained_on == f"{HOST} cuda:0, cuda:1, 2 processes"
    assert TrainingRun(device=f"{HOST} cpu").trained_on == f"{HOST} cpu"


def test_the_page_of_a_run_says_where_it_trains(admin_client):
    run = make_run()
    address = reverse("admin:trainer_trainingrun_change", args=[run.pk])
    assert '<th scope="row">device</th>' not in admin_client.get(address).content.decode()
    assert TrainingRun.objects.claim_next(device="here cuda:0+cuda:1") == run
    shown = admin_client.get(address).content.decode()
    assert '<th scope="row">device</th><td>here cuda:0, cuda:1, 2 processes</td>' in shown


def test_a_run_by_two_processes_becomes_a_candidate_version_as_any_other(settings):
    """Killed in the middle, then asked to go, then finished."""
    settings.DEVICES_PER_RUN = "2"
    run = make_run(epochs=6)
    said: list[dict[str, Any]] = []
    plans = [("epoch", "kill"), ("step", "ask")]

    def hear(event: dict[str, Any]) -> None:
        said.append(event)
        if not plans or plans[0][0] != event["event"]:
            return
        if plans.pop(0)[1] == "kill":
            (first,) = children(os.getpid(), "trainer.process")
            (second,) = children(first)
            os.kill(second, signal.SIGKILL)
        else:
            os.kill(os.getpid(), signal.SIGTERM)

    assert supervise(supervising.claim(), say=hear)
    run.refresh_from_db()
    assert (run.status, run.deaths) == (Status.QUEUED, 1)
    assert not supervise(supervising.claim(), say=hear)
    run.refresh_from_db()
    assert (run.status, run.token) == (Status.QUEUED, None)
    assert supervise(supervising.claim(), say=hear)
    run.refresh_from_db()
    assert (run.status, run.failure, run.attempt) == (Status.FINISHED, "", 3)
    assert [epoch.number for epoch in run.epochs.all()] == list(range(1, 7))
    origin = run.version.card.origin
    assert origin["processes"] == 2 and run.trained_on == f"{HOST} cpu, 2 processes"
    assert not run.version.is_active and not plans


def test_a_run_that_is_stopped_keeps_its_best_epoch(settings):
    settings.DEVICES_PER_RUN = "2"
    run = make_run(epochs=500)

    def hear(event: dict[str, Any]) -> None:
        if event["event"] == "epoch" and event["number"] == 2:
            TrainingRun.objects.get(pk=run.pk).stop()

    supervise(supervising.claim(), say=hear)
    run.refresh_from_db()
    assert run.status == Status.STOPPED and run.version is not None
    assert run.version.card.origin["processes"] == 2


SUPERVISE = """
import django, os, sys
os.environ["DJANGO_SETTINGS_MODULE"] = "breedsite.settings"
django.setup()
from trainer.child import Child
from breedsite.tether import die_with
from functools import partial
from pathlib import Path
child = Child(Path(sys.argv[1]), Path(sys.argv[2]), tether=partial(die_with, os.getpid()))
while True:
    event = child.next_event(60)
    if event: print(event["event"], child.process.pid, flush=True)
"""


def test_no_process_outlives_its_supervisor(tmp_path):
    """Killed with -9, which nobody hears."""
    job = trainings.write_job(tmp_path, device="cpu+cpu", recipe={"epochs": 2000})
    supervisor = subprocess.Popen(
        [sys.executable, "-c", SUPERVISE, str(job), str(tmp_path / "log.txt")],
        cwd=trainings.ROOT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    for line in supervisor.stdout:
        if line.startswith("step"):
            break
    (first,) = children(supervisor.pid)
    (second,) = children(first)
    supervisor.kill()
    supervisor.communicate()
    assert gone([first, second], within_seconds=5)
