"""The chaos in small: a death at every named place and a few at random ones, and the run ends as if nothing had been.

`make chaos` does more of it.
"""

import json
import os
import signal
import subprocess
import sys
from datetime import timedelta

import pytest
from django.utils import timezone

from benchmarks.chaos.__main__ import PARTS
from benchmarks.chaos.witness import Witness, held
from tests.site import FROM_OUTSIDE, ROOT

pytestmark = pytest.mark.timeout(1200)


def chaos(*words: str, **settings: str) -> dict:
    """The figures of a part, none of which is in want of anything."""
    bare = {name: value for name, value in os.environ.items() if name not in (*FROM_OUTSIDE, "LEASE_SECONDS")}
    command = [sys.executable, "-m", "benchmarks.chaos", *words]
    done = subprocess.run(command, cwd=ROOT, env=bare | settings, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-60_000:]
    (figures,) = json.loads(done.stdout).values()
    assert figures["broken"] == []
    return figures


def test_without_a_word_every_part_is_done_in_its_full_size():
    full = {"kills": 100, "points": 5, "freezes": 20, "stops": 50, "cancels": 100, "disk": 5}
    assert {name: PARTS[name].size for name in full} == full
    assert all(PARTS[name].usual for name in full)


def test_a_program_that_a_training_starts_is_no_second_owner(tmp_path):
    """Between fork and exec it bears the training's name."""
    job = tmp_path / "runs" / "7" / "attempt-1" / "train.json"
    forks = r"import os, time; os.fork(); os.write(1, b'here\n'); time.sleep(60)"
    command = [sys.executable, "-c", forks, "trainer.process", str(job)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, process_group=0) as training:
        try:
            assert [training.stdout.readline() for _ in range(2)] == [b"here\n"] * 2
            assert Witness(tmp_path).trainers() == {7: {training.pid: "attempt-1"}}
        finally:
            os.killpg(training.pid, signal.SIGKILL)


@pytest.mark.alone
def test_a_run_survives_a_death_at_every_named_place():
    """On SQLite and the embedded Valkey."""
    figures = chaos("small", "--small", "5")
    assert sum(figures["kills"].values()) == 5 and figures["deaths"] >= 20
    assert figures["overlapping_owners"] == figures["checkpoints_written_again"] == figures["epochs_stored_twice"] == 0


@pytest.mark.broker
@pytest.mark.database
def test_a_run_survives_kills_on_postgresql_and_a_broker_of_its_own():
    named = {name: os.environ.get(name, "") for name in ("DATABASE_URL", "BROKER_URL")}
    if not all(named.values()):
        pytest.skip("DATABASE_URL or BROKER_URL is not set")
    figures = chaos("kills", "--kills", "5", "--on", "named", **named)
    assert figures["kills"] == 5 and figures["runs"] >= 2


@pytest.mark.alone
def test_checkpoints_survive_kills_and_damage():
    figures = chaos("checkpoints", "--checkpoints", "5")
    assert figures["kills"] == figures["damages"] == 5 and figures["good_copy_lost"] == 0


@pytest.mark.alone
def test_many_starts_at_the_same_moment_are_as_many_runs_as_were_meant():
    figures = chaos("starts", "--on", "own")
    assert (figures["starts"], figures["runs"], figures["claims_tried"], figures["claims"]) == (200, 10, 200, 10)


def test_who_makes_a_version_of_a_run_works_on_it_without_a_training_process(settings):
    now = timezone.now()
    stale = now - timedelta(seconds=3 * settings.HEARTBEAT_SECONDS)
    assert held({"token": "1", "heartbeat_at": now})
    assert not held({"token": "1", "heartbeat_at": stale})
    assert not held({"token": None, "heartbeat_at": now})
    assert not held({"token": "1", "heartbeat_at": None})
