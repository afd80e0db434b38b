"""What all long work shares: one owner at a time, nothing lost, nothing stuck, an end that stays."""

import itertools
import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from amqp.exceptions import AccessRefused, NotAllowed
from django.db import Error as DatabaseError
from django.db import connection
from django.utils import timezone
from redis.exceptions import ResponseError

from breedsite import jobs, reconciling
from classifier.models import Batch, Chunk
from tests.errands import Errand, database_url
from trainer.models import Dataset, TrainingRun

ROOT = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.django_db(transaction=True)
Status = Errand.Status


@pytest.fixture(autouse=True)
def table(transactional_db, monkeypatch) -> Iterator[None]:
    monkeypatch.setattr(reconciling, "kinds", lambda: [Errand])
    with connection.schema_editor() as editor:
        editor.create_model(Errand)
    yield
    with connection.schema_editor() as editor:
        editor.delete_model(Errand)


@pytest.fixture
def rung(monkeypatch) -> list[str]:
    """The tasks that were rung for."""
    bells: list[str] = []
    monkeypatch.setattr(jobs.app, "send_task", lambda name, **options: bells.append(name))
    return bells


def queue(*names: str) -> list[Errand]:
    return [Errand.objects.create(name=name) for name in names]


def claim() -> Errand:
    errand = Errand.objects.claim_next()
    assert errand is not None
    return errand


def silent(errand: Errand, seconds: float = 3600) -> None:
    """Let its process have been silent for so long."""
    Errand.objects.filter(pk=errand.pk).update(heartbeat_at=timezone.now() - timedelta(seconds=seconds))


def in_database(errand: Errand) -> Errand:
    return Errand.objects.get(pk=errand.pk)


# --- claiming -----------------------------------------------------------------------------------------------------
def test_the_oldest_is_claimed_first_whatever_its_number():
    first, second = queue("second", "first")
    Errand.objects.filter(pk=second.pk).update(created_at=first.created_at - timedelta(seconds=1))
    assert [claim().name, claim().name] == ["first", "second"]
    assert Errand.objects.claim_next() is None


def test_a_claim_marks_the_row_as_held():
    queue("one")
    errand = claim()
    assert errand == in_database(errand)
    assert (errand.status, errand.attempt) == (Status.RUNNING, 1)
    assert errand.token is not None and errand.heartbeat_at == errand.started_at is not None


def test_those_that_wait_know_their_place():
    one, two, three = queue("one", "two", "three")
    assert [one.place, two.place, three.place] == [1, 2, 3]
    assert claim().place is None
    assert [two.place, three.place] == [1, 2]


def test_a_place_that_is_taken_leaves_the_row_in_the_queue():
    queue("one", "two")
    assert Errand.objects.claim_next(place_taken="cpu").name == "one"
    assert Errand.objects.claim_next(place_taken="cpu") is None
    assert Errand.objects.claim_next(place_taken="cuda:0").name == "two"


def test_a_row_that_pauses_is_not_claimed():
    (errand,) = queue("one")
    Errand.objects.update(due_at=timezone.now() + timedelta(seconds=60))
    assert Errand.objects.claim_next() is None
    Errand.objects.update(due_at=timezone.now() - timedelta(seconds=1))
    assert claim() == errand


CLAIM = "import django; django.setup(); from tests.errands import claim_all; claim_all()"


def race() -> None:
    """Eight processes, each a fresh interpreter, claim two hundred rows as fast as they can."""
    names = [str(number) for number in range(200)]
    Errand.objects.bulk_create(Errand(name=name) for name in names)
    environment = os.environ | {"DATABASE_URL": database_url(), "DJANGO_SETTINGS_MODULE": "breedsite.settings"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", CLAIM],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(8)
    ]
    assert [process.stdout.readline() for process in processes] == ["ready\n"] * 8
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    claimed = [process.communicate(timeout=100)[0].split() for process in processes]
    assert [process.returncode for process in processes] == [0] * 8
    assert sorted(itertools.chain(*claimed)) == sorted(names)  # each once
    assert sum(bool(some) for some in claimed) > 1  # it was a race
    assert set(Errand.objects.values_list("attempt", flat=True)) == {1}
    assert len(set(Errand.objects.values_list("token", flat=True))) == 200


def test_eight_processes_claim_each_row_once():
    race()


@pytest.mark.database
def test_eight_processes_claim_each_row_once_in_postgresql():
    if connection.vendor != "postgresql":
        pytest.skip("DATABASE_URL names no PostgreSQL")
    race()


# --- holding ------------------------------------------------------------------------------------------------------
def test_a_beat_tells_that_the_work_goes_on():
    queue("one")
    errand = claim()
    silent(errand)
    assert errand.beat(progress_done=3, progress_total=10)
    row = in_database(errand)
    assert (row.progress_done, row.progress_total) == (3, 10)
    assert not Errand.objects.stale(60).exists()


def test_who_lost_the_token_can_change_nothing_any_more():
    """It was taken for dead, another has begun, and then it wakes up."""
    queue("one")
    late = claim()
    silent(late)
    assert Errand.objects.take_back(60) == 1
    Errand.objects.update(due_at=None)
    owner = claim()
    assert owner == late and owner.token != late.token and owner.attempt == 2
    before = in_database(owner)
    assert not late.beat(progress_done=99)
    assert not late.give_back() and not late.finish(Status.FINISHED) and not late.died("It is late.")
    after = in_database(owner)
    assert [getattr(after, field) for field in jobs.LIFECYCLE] == [getattr(before, field) for field in jobs.LIFECYCLE]
    assert owner.beat()


def test_who_has_to_go_gives_the_row_back_to_its_old_place():
    queue("one", "two")
    errand = claim()
    assert errand.give_back()
    assert in_database(errand).token is None and errand.deaths == 0
    assert [claim().name, claim().name] == ["one", "two"]


# --- ending -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("end", [Status.FINISHED, Status.FAILED, Status.STOPPED])
def test_an_end_stays_the_end(end):
    queue("one")
    errand = claim()
    token = errand.token
    assert errand.finish(end, "So it was.")
    errand.token = token  # a process that does not know that it has ended
    for change in (
        errand.beat,
        errand.give_back,
        errand.stop,
        lambda: errand.died("Again."),
        lambda: errand.finish(Status.FINISHED),
        lambda: errand.finish(Status.FAILED),
    ):
        assert not change()
        row = in_database(errand)
        assert (row.status, row.failure) == (end, "So it was.") and row.finished_at is not None


def test_a_row_read_long_ago_does_not_bring_back_its_old_status():
    (old,) = queue("one")
    claim().finish(Status.FINISHED)
    old.name = "renamed"
    old.save()
    row = in_database(old)
    assert (row.name, row.status) == ("renamed", Status.FINISHED)


def test_what_waits_is_stopped_at_once():
    (errand,) = queue("one")
    assert errand.stop() and errand.status == Status.STOPPED and errand.finished_at is not None
    assert Errand.objects.claim_next() is None


def test_what_runs_hears_of_the_stop_with_its_next_beat():
    queue("one")
    errand = claim()
    assert in_database(errand).stop()
    assert not errand.stop_requested
    assert errand.beat() and errand.stop_requested
    assert in_database(errand).stop()  # asking twice changes nothing
    assert errand.finish(Status.STOPPED)


def test_a_stop_that_meets_a_claim_is_not_lost():
    (seen_waiting,) = queue("one")
    errand = claim()
    assert seen_waiting.status == Status.QUEUED and seen_waiting.stop()
    assert errand.beat() and errand.stop_requested


@pytest.mark.parametrize("way", [lambda errand: errand.give_back(), lambda errand: errand.died("Killed.")])
def test_who_was_asked_to_stop_does_not_wait_again(way):
    queue("one")
    errand = claim()
    in_database(errand).stop()
    assert way(errand)
    assert in_database(errand).status == Status.STOPPED


# --- the dead -----------------------------------------------------------------------------------------------------
def test_a_silent_process_loses_its_row_after_the_lease_and_not_before(rung, settings):
    settings.LEASE_SECONDS = 60
    queue("one")
    errand = claim()
    silent(errand, 50)
    reconciling.reconcile()
    assert in_database(errand).status == Status.RUNNING and rung == []
    silent(errand, 70)
    reconciling.reconcile()
    row = in_database(errand)
    assert (row.status, row.token, row.deaths) == (Status.QUEUED, None, 1)


def test_a_row_that_never_had_a_heartbeat_is_judged_by_its_start():
    queue("one")
    errand = claim()
    Errand.objects.update(heartbeat_at=None)
    assert not Errand.objects.stale(60).exists()
    Errand.objects.update(started_at=timezone.now() - timedelta(seconds=61))
    assert Errand.objects.stale(60).get() == errand


def test_poison_fails_after_three_deaths_and_others_proceed():
    """With pauses of 10 and 60 seconds before the second and third attempt."""
    queue("poison", "food")
    for pause in (10, 60):
        errand = claim()
        began = timezone.now()
        assert errand.died("It was killed by signal 9.")
        row = in_database(errand)
        assert row.status == Status.QUEUED
        assert abs((row.due_at - began).total_seconds() - pause) < 5
        other = claim()  # it does not hold up the others
        assert other.name == "food" and other.give_back()
        Errand.objects.filter(pk=errand.pk).update(due_at=None)
    errand = claim()
    assert (errand.name, errand.attempt) == ("poison", 3)
    assert errand.died("It was killed by signal 9.")
    row = in_database(errand)
    assert (row.status, row.failure) == (Status.FAILED, "It died 3 times. It was killed by signal 9.")
    assert claim().name == "food"


def test_progress_forgives_deaths():
    queue("one")
    for _ in range(5):
        errand = claim()
        assert errand.beat(deaths=0)
        assert errand.died("It was killed.")
        Errand.objects.update(due_at=None)
    assert in_database(errand).status == Status.QUEUED


# --- the bell -----------------------------------------------------------------------------------------------------
def test_what_waits_is_rung_for_again(rung):
    reconciling.reconcile()
    assert rung == []
    queue("one", "two")
    reconciling.reconcile()
    assert rung == ["tests.errands.run_next"]


def test_what_cannot_be_tidied_holds_up_no_job(rung, monkeypatch):
    """A folder that nobody may remove, for example: found again at every look."""

    def tidy() -> None:
        raise PermissionError("not allowed")

    queue("one")
    monkeypatch.setattr(Errand, "tidy", tidy)
    with pytest.raises(PermissionError):
        reconciling.reconcile()
    assert rung == ["tests.errands.run_next"]


def test_a_broker_that_does_not_answer_fails_nothing(settings):
    """The row waits, and the reconciler will ring again."""
    from celery import Celery

    queue("one")
    deaf = Celery("deaf", broker="redis+socket:///nowhere/valkey.sock")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jobs, "app", deaf)
        assert Errand.ring() is False
        reconciling.reconcile()
    assert Errand.objects.get().status == Status.QUEUED


def test_a_broker_that_takes_nothing_fails_nothing(monkeypatch):
    """A Redis whose own disk is full answers every message with this."""

    def full(*_: object, **__: object) -> None:
        raise ResponseError("MISCONF Errors writing to the AOF file: No space left on device")

    monkeypatch.setattr(jobs.app, "send_task", full)
    assert Errand.ring() is False


def test_a_worker_rings_for_the_work_that_it_does_itself_alone(monkeypatch, settings, rung):
    Errand.objects.create(name="one")
    monkeypatch.setattr(Errand, "QUEUE", "train")
    settings.WORKER_QUEUES = ["batch", "import"]
    reconciling.reconcile()
    assert rung == []
    settings.WORKER_QUEUES = ["train"]
    reconciling.reconcile()
    assert rung == [Errand.TASK]


def test_each_kind_of_work_has_a_queue_of_its_own(monkeypatch, settings):
    sent: dict[str, str] = {}
    monkeypatch.setattr(jobs.app, "send_task", lambda name, *, queue, **options: sent.update({name: queue}))
    settings.BROKER_QUEUE = "ours"
    for kind in (Dataset, TrainingRun, Batch, Chunk):
        assert kind.ring()
    assert sent == {
        "trainer.tasks.train_runs": "ours.train",
        "trainer.tasks.import_datasets": "ours.import",
        "classifier.tasks.predict_batches": "ours.batch",
    }


@pytest.mark.parametrize("error", [AccessRefused("the login was refused"), NotAllowed("vhost nowhere not found")])
def test_a_broker_that_refuses_the_login_fails_nothing(monkeypatch, error):
    """RabbitMQ's own words, which kombu does not wrap."""

    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(jobs.app, "send_task", refuse)
    assert Errand.ring() is False


def test_the_reconciler_looks_again_and_again_whatever_the_database_does(rung, monkeypatch, settings):
    settings.HEARTBEAT_SECONDS = 0.01
    looks = threading.Semaphore(0)
    answers = iter([DatabaseError("It is away."), KeyError("nobody thought of it"), None])

    def look() -> None:
        looks.release()
        if error := next(answers, None):
            raise error

    monkeypatch.setattr(reconciling, "reconcile", look)
    monkeypatch.setattr(reconciling.Worker.objects, "beat", lambda: None)
    reconciler = reconciling.Reconciler(0.01)
    reconciler.start()
    for _ in range(3):
        assert looks.acquire(timeout=10)
    reconciler.stop()
    reconciler.join(10)
    assert not reconciler.is_alive()


def test_a_token_is_never_ours_by_being_empty():
    (errand,) = queue("one")
    assert errand.token is None
    assert not errand.beat() and not errand.finish(Status.FINISHED)
    errand.token = uuid.uuid4()
    assert not errand.beat()
