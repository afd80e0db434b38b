"""A process follows the active version, and survives what happens to the database and to the folders."""

import logging
import shutil
import threading
import time
from pathlib import Path

import pytest
from django.apps import apps
from django.db import OperationalError, connection

from classifier import apps as classifier_apps
from classifier import artifact
from classifier.models import ModelVersion
from classifier.predictor import Identity, NoActiveVersion, Predictor
from classifier.watcher import Target, Unreachable, Watcher
from tests.artifacts import make_artifact


class Place:
    """What a watcher looks at, in memory."""

    def __init__(self) -> None:
        self.target: Target | Exception | None = None
        self.reports: list[tuple[str, str]] = []
        self.looks = 0
        self.answering: str | None = None

    def look(self) -> Target | None:
        self.looks += 1
        if isinstance(self.target, Exception):
            raise self.target
        return self.target

    def report(self, identity: Identity, sentence: str) -> None:
        self.reports.append((str(identity), sentence))

    def seen(self, identity: Identity | None) -> None:
        self.answering = identity and str(identity)


@pytest.fixture
def place() -> Place:
    return Place()


@pytest.fixture
def watcher(place):
    predictor = Predictor(threads=1, places=8, max_wait_seconds=5)
    watcher = Watcher(
        predictor,
        look=place.look,
        report=place.report,
        seen=place.seen,
        rest=lambda: None,
        end=lambda: None,
        seconds=0.01,
    )
    yield watcher
    watcher.stop()


def target(folder: Path, name: str = "tiny") -> Target:
    return Target(Identity(name, 1, artifact.digest(folder)), folder)


def until(condition) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "did not happen in 20 s"
        time.sleep(0.005)


def answering(watcher: Watcher) -> str | None:
    return watcher.predictor.current and watcher.predictor.current.identity.name


def test_it_follows_the_active_version_in_a_thread_of_its_own(watcher, place, artifact_folder, tmp_path):
    watcher.start()
    until(lambda: place.looks > 2)
    assert answering(watcher) is None
    place.target = target(artifact_folder)
    until(lambda: answering(watcher) == "tiny")
    place.target = target(make_artifact(tmp_path / "zoo", seed=1), "zoo")
    until(lambda: answering(watcher) == "zoo")
    place.target = None
    until(lambda: answering(watcher) is None and place.answering is None)


def test_it_keeps_the_old_version_and_says_why_when_the_new_one_cannot_be_loaded(
    watcher, place, artifact_folder, tmp_path, caplog
):
    place.target = target(artifact_folder)
    watcher.step()
    broken = shutil.copytree(make_artifact(tmp_path / "zoo", seed=1), tmp_path / "broken")
    place.target = target(broken, "zoo")
    (broken / "model.onnx").write_bytes(b"")
    for _ in range(3):
        watcher.step()
    assert answering(watcher) == "tiny"
    (report,) = place.reports  # not tried again at every look
    assert report[0] == "zoo:1" and "model.onnx has 0 bytes" in report[1]
    assert place.answering == "tiny:1"
    assert "zoo:1 could not be loaded, tiny:1 goes on answering" in caplog.text

    shutil.copy(tmp_path / "zoo" / "model.onnx", broken / "model.onnx")
    watcher.retry_at = 0.0
    watcher.step()
    assert answering(watcher) == "zoo"
    assert place.reports[-1] == ("zoo:1", "") and place.answering == "zoo:1"


def test_an_outage_changes_nothing_and_is_said_once(watcher, place, artifact_folder, caplog):
    place.target = target(artifact_folder)
    watcher.step()
    place.target = Unreachable("connection refused")
    for _ in range(5):
        watcher.step()
    assert answering(watcher) == "tiny"
    assert caplog.text.count("cannot be looked up") == 1


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_unforeseen_error_ends_the_thread_aloud_and_start_begins_anew(watcher, place, artifact_folder, caplog):
    place.target = RuntimeError("unforeseen")
    watcher.start()
    until(lambda: not watcher.alive)
    assert "The watcher of the active version has ended" in caplog.text
    place.target = target(artifact_folder)
    watcher.start()
    until(lambda: answering(watcher) == "tiny")


def test_stop_ends_the_thread(watcher):
    watcher.start()
    watcher.start()
    assert [thread.name for thread in threading.enumerate()].count("version-watcher") == 1
    watcher.stop()
    assert not watcher.alive


# --- with the database --------------------------------------------------------------------------------------------
def test_the_process_has_one_predictor_with_the_active_version(active_version, picture):
    config = apps.get_app_config("classifier")
    assert config.predictor is config.predictor
    assert config.predictor.predict(picture).identity == Identity("tiny", 1, active_version.digest)


def test_a_prediction_asks_the_database_nothing(active_version, picture, django_assert_num_queries):
    with django_assert_num_queries(0):
        apps.get_app_config("classifier").predictor.predict(picture)


def test_without_a_version_the_process_starts_all_the_same(db, picture):
    with pytest.raises(NoActiveVersion):
        apps.get_app_config("classifier").predictor.predict(picture)


def test_a_version_that_cannot_be_loaded_shows_why_in_its_row(active_version, tmp_path):
    other = ModelVersion.objects.install(make_artifact(tmp_path / "other", seed=1))
    other.activate()
    (other.path / "model.onnx").write_bytes(b"")
    watcher = apps.get_app_config("classifier").start()
    watcher.step()
    other.refresh_from_db()
    assert "model.onnx has 0 bytes" in other.failure
    assert watcher.predictor.current.identity.number == 1


def test_a_database_that_is_away_is_unreachable_and_no_more(active_version, monkeypatch):
    def away(*args, **kwargs):
        raise OperationalError("connection refused")

    monkeypatch.setattr(ModelVersion.objects.all().__class__, "active", away)
    with pytest.raises(Unreachable, match="connection refused"):
        classifier_apps.active_target()
    watcher = apps.get_app_config("classifier").start()
    watcher.step()
    assert watcher.predictor.current.identity.number == 1


@pytest.mark.django_db(transaction=True)
def test_the_thread_sees_an_activation_through_a_connection_of_its_own(
    versions_dir, settings, artifact_folder, tmp_path, caplog
):
    caplog.set_level(logging.INFO)
    settings.VERSION_POLL_SECONDS = 0.02
    first = ModelVersion.objects.install(artifact_folder)
    second = ModelVersion.objects.install(make_artifact(tmp_path / "other", seed=1))
    config = apps.get_app_config("classifier")
    watcher = config.start()
    for version in (first, second, first):
        version.activate()
        until(lambda: watcher.predictor.current and watcher.predictor.current.identity.digest == version.digest)  # noqa: B023
    config.stop()
    assert not watcher.alive
    assert connection.is_usable()
    assert "tiny:2 is loaded and answers." in caplog.text


def test_a_forked_child_begins_with_a_predictor_of_its_own(active_version):
    config = apps.get_app_config("classifier")
    before = config.predictor
    config._forget()
    assert config.predictor is not before
    assert config.predictor.current.identity.digest == active_version.digest
