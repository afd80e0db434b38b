"""The suite's own guard: what is skipped is said, and forbidden where everything must be tried."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SUITE = """
import pytest

@pytest.mark.broker
def test_needs_a_broker():
    pytest.skip("there is none")

@pytest.mark.xfail
def test_fails_as_foreseen():
    assert False

@pytest.mark.skip
def test_needs_nothing():
    pass

def test_has_a_data_folder_and_a_cache_of_its_own():
    from django.conf import settings
    from django.core.cache import cache

    assert "breedsite-tests-" in str(settings.DATA_DIR)
    cache.set("who", "me")
    assert cache.get("who") == "me"
    print(settings.DATA_DIR)
"""


def suite(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_it.py").write_text(SUITE)
    outside = ("PYTEST_XDIST_WORKER", "REQUIRE_ALL", "DATA_DIR")
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-c", str(ROOT / "pyproject.toml"), "-s", *words, str(folder / "test_it.py")],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name not in outside} | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_what_is_skipped_is_said_and_nothing_of_the_run_is_left(tmp_path):
    done = suite(tmp_path)
    assert done.returncode == 0, done.stdout
    assert "1 broker tests were SKIPPED: they need BROKER_URL and CACHE_URL." in done.stdout
    folder = re.search(r"\S*/breedsite-tests-\w+", done.stdout)[0]
    assert not Path(folder.lstrip(".sx")).exists()


def test_where_everything_is_required_what_is_skipped_is_a_failure(tmp_path):
    done = suite(tmp_path, "-n", "2", REQUIRE_ALL="1")
    assert done.returncode == 1, done.stdout
    assert "REQUIRE_ALL=1 forbids that: the run has failed." in done.stdout
