"""A training under the real launcher, broker and worker: given back when they go, taken back when they die."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import FairClock, gone, running
from tests.site import FROM_OUTSIDE, ROOT, Site
from tests.test_import_live import rows, until

pytestmark = [pytest.mark.timeout(400), pytest.mark.alone]
QUICK = {"RECONCILE_SECONDS": "1", "LEASE_SECONDS": "15", "HEARTBEAT_SECONDS": "1"}
QUEUE = "from tests.squares import *; make_run(make_dataset(count=40), epochs=1000)"
TELL = "SELECT status, attempt, deaths FROM trainer_trainingrun"


def shell(data: Path, code: str) -> None:
    """Run a line of Python in the installation."""
    done = subprocess.run(
        [sys.executable, "-c", f"import django; django.setup(); {code}"],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name not in FROM_OUTSIDE}
        | {"DATA_DIR": str(data), "DJANGO_SETTINGS_MODULE": "breedsite.settings"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def wait_until_it_runs(data: Path, attempt: int) -> None:
    """Its attempt of that number, or a later one: a machine that stands still for a lease costs an attempt."""

    def runs() -> bool:
        ((status, attempts, _),) = rows(data, TELL)
        return status == "running" and attempts >= attempt

    until(runs)


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
    """SIGTERM to the site, then kill -9 of the process of the pool that supervises the training."""
    data = tmp_path / "var"
    with Site(data, **QUICK) as site:
        site.wait_for("Ready in")
        shell(data, QUEUE)  # nobody rings for it in this installation: the reconciler finds it
        wait_until_it_runs(data, 1)
        ((process, _),) = until(lambda: trainers(data))
        assert site.stop() < 10  # 8 for the batch under way, and the launcher's own
        assert gone([process])
    ((status, attempts, deaths),) = rows(data, TELL)
    assert (status, deaths) == ("queued", 0)
    with Site(data, **QUICK) as site:
        site.wait_for("Ready in")
        wait_until_it_runs(data, attempts + 1)
        ((process, supervisor),) = until(lambda: trainers(data))
        os.kill(supervisor, signal.SIGKILL)
        assert gone([process])  # it dies with who supervises it
        site.wait_for("died and waits 10 seconds", seconds=120)  # after the lease
        wait_until_it_runs(data, attempts + 2)
        assert len(until(lambda: trainers(data))) == 1
        shell(data, "from trainer.models import TrainingRun; TrainingRun.objects.get().stop()")
        clock = FairClock(site.processes())
        assert clock.until(lambda: not trainers(data)) < 11, "it trains no more within ten seconds"
