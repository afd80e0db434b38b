"""Whether a worker is alive and what it does, as the admin's front page tells it."""

import re
from datetime import timedelta
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from breedsite import jobs, reconciling
from breedsite.checkout import code_version
from breedsite.models import Holding, Worker
from tests.squares import make_dataset, make_run
from trainer.models import TrainingRun

pytestmark = pytest.mark.django_db
NOBODY = "No worker is running: what is queued waits until one is started."


def front(client: Client) -> str:
    return client.get("/admin/").content.decode()


@pytest.fixture(autouse=True)
def folders(settings, tmp_path, monkeypatch) -> None:
    settings.DATASETS_DIR = tmp_path
    monkeypatch.setattr(jobs.app, "send_task", lambda name, **options: None)


def test_a_worker_that_beats_is_alive_until_it_is_silent_for_two_rounds(admin_client, settings):
    """Within a minute."""
    assert settings.RECONCILE_SECONDS == 30
    assert NOBODY in front(admin_client)
    Worker.objects.beat()
    Worker.objects.beat()
    worker = Worker.objects.get()
    assert NOBODY not in front(admin_client) and str(worker) in front(admin_client)
    Worker.objects.update(heartbeat_at=timezone.now() - timedelta(seconds=61))
    assert NOBODY in front(admin_client)


def test_a_worker_that_leaves_is_gone_at_once(admin_client):
    Worker.objects.beat()
    Worker.objects.leave()
    assert NOBODY in front(admin_client)


def test_workers_of_long_ago_are_forgotten():
    Worker.objects.create(name="old", heartbeat_at=timezone.now() - timedelta(days=2))
    Worker.objects.beat()
    assert not Worker.objects.filter(name="old").exists()


def test_the_front_page_shows_what_runs_and_what_waits(admin_client):
    dataset = make_dataset()
    run = make_run(dataset)
    make_run(dataset)
    held = TrainingRun.objects.claim_next(device="cpu")
    assert held == run and held.beat(progress_done=3, progress_total=9)
    text = front(admin_client)
    assert f'<a href="/admin/trainer/trainingrun/{run.pk}/change/">run {run.pk} (squares)</a> is running' in text
    assert 'max="9" value="3"' in text and "1 run waiting." in text


def test_each_worker_is_shown_with_what_it_works_on_and_its_code(admin_client, monkeypatch):
    dataset = make_dataset()
    mine, other = make_run(dataset), make_run(dataset)
    Worker.objects.beat()
    Worker.objects.create(name="elsewhere 7", heartbeat_at=timezone.now(), code="0a1b2c3 with changes")
    assert TrainingRun.objects.claim_next(device="cpu") == mine
    monkeypatch.setattr(jobs, "PARENT", 7)
    monkeypatch.setattr("breedsite.models.worker.os.uname", lambda: type("Name", (), {"nodename": "elsewhere"}))
    assert TrainingRun.objects.claim_next(device="cuda:0") == other
    shown = re.findall(r"<p>The worker.*?</p>", front(admin_client))
    [here], [elsewhere] = ([one for one in shown if ("elsewhere 7" in one) is there] for there in (False, True))
    assert f"run {mine.pk}" in here and f"run {other.pk}" not in here and code_version() in here
    assert f"run {other.pk}" in elsewhere and "with the code 0a1b2c3 with changes" in elsewhere
    mine.refresh_from_db()
    assert mine.finish("finished")
    assert f"run {mine.pk}" not in front(admin_client)


def test_what_was_claimed_long_ago_is_forgotten():
    Worker.objects.holds(uuid4(), 1)
    Holding.objects.update(since=timezone.now() - timedelta(days=31))
    Worker.objects.holds(uuid4(), 1)
    Worker.objects.beat()
    assert Holding.objects.count() == 1


def test_who_may_not_look_at_runs_is_told_nothing_of_them(client):
    make_run()
    TrainingRun.objects.claim_next(device="cpu")
    client.force_login(User.objects.create_user("staff", is_staff=True))
    text = front(client)
    assert "Nothing runs just now." in text and "(squares)" not in text


@pytest.mark.django_db(transaction=True)
def test_the_reconciler_says_that_its_worker_is_alive():
    reconciler = reconciling.Reconciler(60)
    reconciler.start()
    reconciler.stop()
    reconciler.join(10)
    assert Worker.objects.alive().count() == 1
