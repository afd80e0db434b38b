"""Which versions an engine process holds, and what becomes of those that it cannot."""

import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from classifier.artifact import ArtifactError, DeviceLost
from classifier.engines import held
from classifier.engines.held import Versions
from tests.engines import until

pytestmark = pytest.mark.alone

FOLDER = Path("/versions/one")


def versions(load: Callable[[Path, str], object], **changes: object) -> Versions:
    return Versions(**{"load": load, "device": "gpu", "lost": pytest.fail} | changes)


def engine(device: str = "gpu") -> tuple[SimpleNamespace, SimpleNamespace]:
    return SimpleNamespace(name="tiny"), SimpleNamespace(device=device)


def test_a_version_is_loaded_once_in_the_background_however_many_want_it():
    asked, go = [], threading.Event()

    def load(folder: Path, digest: str):
        asked.append((folder, digest))
        assert go.wait(30)
        return engine()

    them = versions(load)
    assert [them.want("a", FOLDER) for _ in range(3)] == [None] * 3 and them.get("a") is None
    go.set()
    until(lambda: them.get("a"))
    assert them.want("a", FOLDER) is them.get("a") and asked == [(FOLDER, "a")]


def test_the_two_that_were_wanted_last_are_kept():
    them = versions(lambda folder, digest: engine())
    for digest in "abac":
        until(lambda: them.want(digest, FOLDER))  # noqa: B023
    assert [them.get(digest) is not None for digest in "abc"] == [True, False, True]


def test_one_that_cannot_be_loaded_is_tried_again_later_and_says_why(monkeypatch):
    asked = []

    def load(folder: Path, digest: str):
        asked.append(digest)
        raise ArtifactError("its weights are gone")

    them = versions(load)
    them.want("a", FOLDER)
    until(lambda: them.failure("a"))
    assert them.failure("a") == "its weights are gone"
    assert them.want("a", FOLDER) is None and asked == ["a"]
    monkeypatch.setattr(held, "AGAIN_SECONDS", 0.0)
    assert them.failure("a") == ""
    them.want("a", FOLDER)
    until(lambda: len(asked) == 2)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_error_that_nobody_foresaw_is_no_reason_to_try_again_at_once():
    def load(folder: Path, digest: str):
        raise ZeroDivisionError

    them = versions(load)
    them.want("a", FOLDER)
    until(lambda: "load" not in {thread.name for thread in threading.enumerate()})
    assert "its log tells" in them.failure("a")


def test_one_that_did_not_fit_into_the_memory_is_not_held():
    them = versions(lambda folder, digest: engine("cpu"))
    them.want("a", FOLDER)
    until(lambda: them.failure("a"))
    assert them.get("a") is None and them.failure("a") == "it does not fit into the memory of gpu"


def test_a_device_that_is_lost_while_a_version_is_loaded_is_told():
    told = []

    def load(folder: Path, digest: str):
        raise DeviceLost("gpu: device-side assert")

    versions(load, lost=told.append).want("a", FOLDER)
    until(lambda: told)
    assert str(told[0]) == "gpu: device-side assert"
