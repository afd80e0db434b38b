"""An import on the real site, whose worker's process is killed in the middle of it."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from tests.barriers import after_photos
from tests.photos import write_photos
from tests.processes import of_site
from tests.site import FROM_OUTSIDE, ROOT, Site

pytestmark = [pytest.mark.timeout(300), pytest.mark.alone]


def rows(data: Path, sql: str) -> list[tuple]:
    with closing(sqlite3.connect(data / "breedsite.sqlite3", timeout=20)) as database:
        return database.execute(sql).fetchall()


def until(what, *, seconds: float = 200):
    """What it gives, once it gives something."""
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end
        time.sleep(0.05)
    return found


def importing(data: Path) -> list[int]:
    """The worker's processes that have a sandbox among their children; a sandbox itself has no environment to tell."""
    parents = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if b"classifier.sandbox" in (folder / "cmdline").read_bytes():
                parents.add(int((folder / "stat").read_text().rpartition(")")[2].split()[1]))
        except OSError:  # it has ended
            continue
    return sorted(parents & set(of_site(data)))


QUICK = {"LEASE_SECONDS": "10", "HEARTBEAT_SECONDS": "1", "RECONCILE_SECONDS": "1"}


def make_row(data: Path, verb: str, photos: Path) -> None:
    """A dataset that waits (`enqueue`), or one whose process ends at once (`begin`)."""
    code = (
        "import django, sys; django.setup(); from pathlib import Path; from trainer.models import Dataset\n"
        f"Dataset.objects.{verb}('dogs', Path(sys.argv[-1]), source_kind='server', source_name='photos')"
    )
    environment = {name: value for name, value in os.environ.items() if name not in FROM_OUTSIDE}
    subprocess.run(
        [sys.executable, "-c", code, str(photos)],
        cwd=ROOT,
        env=environment | {"DATA_DIR": str(data), "DJANGO_SETTINGS_MODULE": "breedsite.settings"},
        check=True,
    )


def begin(site: Site, photos: Path) -> None:
    """Queue an import, and wait until it has written some photos."""
    site.wait_for("Ready in")
    make_row(site.data, "enqueue", photos)
    until(lambda: len(list((site.data / "datasets").rglob("*.png"))) >= 50)


def test_the_worker_s_child_is_killed_and_the_import_ends_all_the_same(tmp_path: Path):
    photos = write_photos(tmp_path / "photos", count=100)
    data = tmp_path / "var"
    barrier = after_photos(tmp_path, 50)
    with Site(data, **QUICK, PYTHONPATH=str(tmp_path)) as site:
        begin(site, photos)
        (child,) = importing(data)
        os.kill(child, signal.SIGKILL)
        ((status, folder),) = rows(data, "SELECT status, folder FROM trainer_dataset")
        assert status in ("importing", "queued") and folder == ""
        assert rows(data, "SELECT count(*) FROM trainer_photo") == [(0,)]
        barrier.unlink()
        until(lambda: rows(data, "SELECT 1 FROM trainer_dataset WHERE status = 'ready'"))
        ((attempt, folder),) = rows(data, "SELECT attempt, folder FROM trainer_dataset")
        assert attempt >= 2  # on a machine that stands still for a lease another one is taken for dead
        assert rows(data, "SELECT count(*) FROM trainer_photo") == [(200,)]
        assert [entry.name for entry in (data / "datasets").iterdir()] == [folder]


def test_an_import_waits_again_at_once_where_the_site_is_stopped(tmp_path: Path):
    photos = write_photos(tmp_path / "photos", count=100)
    after_photos(tmp_path, 50)
    with Site(tmp_path / "var", PYTHONPATH=str(tmp_path)) as site:
        begin(site, photos)
        assert site.stop() < 10
    waits = rows(site.data, "SELECT status, token, deaths, due_at FROM trainer_dataset")
    assert waits == [("queued", None, 0, None)]
    assert list((site.data / "datasets").iterdir()) == []


def test_a_worker_whose_broker_never_answered_is_alive_and_takes_back_what_the_dead_held(tmp_path: Path):
    data = tmp_path / "var"
    with Site(data, **QUICK | {"LEASE_SECONDS": "3"}, BROKER_URL="redis://127.0.0.1:9/0") as site:
        site.wait_for("Ready in")
        until(lambda: rows(data, "SELECT 1 FROM breedsite_worker"))
        make_row(data, "begin", tmp_path)
        until(lambda: rows(data, "SELECT 1 FROM trainer_dataset WHERE status = 'queued' AND deaths = 1"))
        assert "Cannot connect to redis" in site.text
        assert site.stop() < 10
