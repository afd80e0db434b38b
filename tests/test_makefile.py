"""The two commands as make understands them."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import gone
from tests.site import Site

pytestmark = pytest.mark.alone

ROOT = Path(__file__).resolve().parent.parent


def make(*words: str) -> subprocess.CompletedProcess[str]:
    """What make says in a terminal of its own: not as the child of a make, nor with that one's variables."""
    inherited = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "VENV", "TESTS", "PYTHON")
    environment = {name: value for name, value in os.environ.items() if name not in inherited}
    return subprocess.run(["make", *words], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def test_run_needs_the_requirements_of_the_site_alone():
    planned = make("--dry-run", "run", "PYTHON=python3").stdout
    assert "python3 -m breedsite.bootstrap .venv requirements.txt -- -m breedsite.up" in planned
    assert "requirements-dev" not in planned


def test_check_is_the_suite_and_four_more():
    planned = make("--dry-run", "check", "PYTHON=python3").stdout
    assert "requirements-dev.txt --chromium" in planned
    steps = ("-m pytest", "ruff check .", "ruff format --check .", "mypy", "makemigrations --check --dry-run")
    assert [planned.index(step) for step in steps] == sorted(planned.index(step) for step in steps)


def test_a_machine_without_python_is_told_what_to_install():
    done = make("run", "PYTHON=")
    assert done.returncode != 0
    assert "breedsite cannot start: Python 3.11 was not found: install it" in done.stderr


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """An environment for `make run` that is the one of this test, said to be up to date."""
    from breedsite import bootstrap

    folder = tmp_path / "venv"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (folder / "bin" / "python").chmod(0o755)
    requirements = ROOT / "requirements.txt"
    bootstrap.stamp(folder, requirements).write_text(bootstrap.digest(requirements, sys.version_info[:2]))
    return folder


@pytest.mark.skipif(sys.version_info[:2] not in ((3, 11), (3, 12)), reason="make run takes Python 3.11 and 3.12")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_end_of_make_is_the_end_of_the_site(tmp_path, environment, number):
    with Site(tmp_path / "var", "make", "run", f"VENV={environment}", f"PYTHON={sys.executable}") as site:
        site.wait_for("Ready in")
        everyone = site.processes()
        assert len(everyone) >= 4
        os.kill(site.process.pid, number)
        assert gone(everyone, within_seconds=10)


def test_a_program_that_is_no_fitting_python_is_passed_over(tmp_path):
    for name, text in {"python3.11": "exit 127", "python3": f'exec "{sys.executable}" "$@"'}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    done = subprocess.run(
        ["make", "--dry-run", "run"],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name != "PYTHON"}
        | {"PATH": f"{tmp_path}:{os.defpath}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "\npython3.11 -m" not in done.stdout
