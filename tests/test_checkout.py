"""Which code a process runs."""

import subprocess

import pytest

from breedsite import checkout


@pytest.fixture(autouse=True)
def not_known_yet():
    checkout.code_version.cache_clear()
    yield
    checkout.code_version.cache_clear()


def test_it_is_the_commit_and_stays_it_for_a_process(tmp_path, monkeypatch):
    def git(*arguments: str) -> None:
        who = ["-c", "user.name=a", "-c", "user.email=a@b.example"]
        subprocess.run(["git", *who, *arguments], cwd=tmp_path, check=True, capture_output=True)

    monkeypatch.setattr(checkout, "ROOT", tmp_path)
    git("init")
    (tmp_path / "file").write_text("a")
    git("add", "file")
    git("commit", "-m", "one")
    commit = checkout.code_version()
    assert 7 <= len(commit) <= 40 and " " not in commit
    (tmp_path / "file").write_text("b")
    assert checkout.code_version() == commit
    checkout.code_version.cache_clear()
    assert checkout.code_version() == f"{commit} with changes"


def test_outside_a_checkout_it_is_unknown(tmp_path, monkeypatch):
    monkeypatch.setattr(checkout, "ROOT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert checkout.code_version() == "unknown"
