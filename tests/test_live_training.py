"""A training under the real launcher, broker and worker: given back when they go, taken back when they die."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.processes import gone, running
from tests.site import FROM_OUTSIDE, ROOT, Site

pytestmark = [pytest.mark.timeout(400), pytest.mark.alone]
QUICK = {"RECONCILE_SECONDS": "1", "LEASE_SECONDS": "6", "HEARTBEAT_SECONDS": "1"}
QUEUE = "from tests.squares import *; make_run(make_dataset(count=40), epochs=1000)"
TELL = "from trainer.models import *; run = TrainingRun.objects.get(); print(run.status, run.attempt, run.deaths)"


def shell(data: Path, code: str) -> str:
    """What a line of Python says in the installation."""
    done = subprocess.run(
        [sys.executable, "-c", f"import django; django.setup(); {code}"],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name not in FROM_OUTSIDE}
        | {"DATA_DIR": str(data), "DJANGO_SETTINGS_MODULE": "breedsite.settings"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def wait_for(data: Path, state: str, *, seconds: float = 90) -> float:
    """How long it took until the run is in that state: status, attempt, deaths."""
    began = time.monotonic()
    while (found := shell(data, TELL)) != state:
        assert time.monotonic() - began < seconds, f"the run is {found}, not {state}"
        time.sleep(0.2)
    return time.monotonic() - began


def trainers(data: Path) -> list[tuple[int, int]]:
    """The live training processes of the installation, each with its parent; not those that only publish."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes()
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:  # it ended meanwhile
            continue
        if b"train.json" in words and str(data).encode() in words and running(int(folder.name)):
            found.append((int(folder.name), parent))
    return found


def test_a_run_survives_the_end_of_the_site_and_the_death_of_its_worker(tmp_path: Path):
    """R4, R21: SIGTERM to the site, then kill -9 of the process of the pool that supervises the training."""
    data = tmp_path / "var"
    with Site(data, **QUICK) as site:
        site.wait_for("Ready in")
        shell(data, QUEUE)  # nobody rings for it in this installation: the reconciler finds it
        wait_for(data, "running 1 0")
        while not trainers(data):
            time.sleep(0.1)
        ((process, _),) = trainers(data)
        assert site.stop() < 10  # 8 for the batch under way, and the launcher's own
        assert gone([process])
    assert shell(data, TELL) == "queued 1 0"
    with Site(data, **QUICK) as site:
        site.wait_for("Ready in")
        wait_for(data, "running 2 0")
        while not trainers(data):
            time.sleep(0.1)
        ((process, supervisor),) = trainers(data)
        os.kill(supervisor, signal.SIGKILL)
        assert gone([process])  # it dies with who supervises it
        wait_for(data, "queued 2 1", seconds=30)  # lease 6, look 1
        wait_for(data, "running 3 1", seconds=40)  # pause 10, look 1
        while not trainers(data):
            time.sleep(0.1)
        assert len(trainers(data)) == 1
        shell(data, "from trainer.models import TrainingRun; TrainingRun.objects.get().stop()")
        began = time.monotonic()
        while trainers(data) and time.monotonic() - began < 20:
            time.sleep(0.1)
        assert time.monotonic() - began < 11, "R22: it trains no more within ten seconds"
