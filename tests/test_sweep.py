"""What killed processes left behind goes; what is young, or goes by itself meanwhile, harms nobody."""

import os
import time
from pathlib import Path
from types import SimpleNamespace
from uuid import uuid4

import pytest

from classifier.tasks import ABANDONED_SECONDS, sweep
from classifier.uploads import Upload

pytestmark = pytest.mark.django_db


def test_an_old_unfinished_installation_goes_and_a_young_one_stays(settings, tmp_path: Path):
    settings.VERSIONS_DIR = tmp_path
    old, young, whole = (tmp_path / name for name in ("a.tmp-1", "b.tmp-2", "c"))
    for folder in (old, young, whole):
        folder.mkdir()
    then = time.time() - ABANDONED_SECONDS - 1
    for folder in (old, whole):
        os.utime(folder, (then, then))
    sweep()
    assert sorted(folder.name for folder in tmp_path.iterdir()) == ["b.tmp-2", "c"]


def test_an_installation_that_is_finished_in_the_moment_of_the_look_stops_no_sweep(settings, tmp_path: Path):
    settings.VERSIONS_DIR = SimpleNamespace(glob=lambda pattern: [tmp_path / "renamed.tmp-1"])
    sweep()


def test_of_an_upload_that_is_not_there_nothing_has_arrived(tmp_path: Path):
    assert Upload(tmp_path, 1, uuid4()).received == 0
