"""ModelVersion: what is installed, what is active, and that there is never more than one."""

import shutil
import threading
from pathlib import Path

import pytest
from django.apps import apps
from django.db import IntegrityError, connection, transaction

from classifier import artifact
from classifier.artifact import ArtifactError
from classifier.models import ModelVersion
from tests.artifacts import make_artifact
from tests.model_files import HOSTILE, SENTENCES

pytestmark = pytest.mark.usefixtures("db", "versions_dir")


def other(tmp_path: Path, seed: int = 1, **changes) -> ModelVersion:
    return ModelVersion.objects.install(make_artifact(tmp_path / f"other-{seed}", seed=seed, **changes))


# --- installing ---------------------------------------------------------------------------------------------------
def test_an_installed_version_lies_in_the_versions_folder(artifact_folder, versions_dir):
    version = ModelVersion.objects.install(artifact_folder)
    assert str(version) == "tiny:1"
    assert version.digest == artifact.digest(artifact_folder) == artifact.digest(version.path)
    assert version.path.parent == versions_dir
    assert version.card == artifact.read(artifact_folder)
    assert not version.is_active


def test_the_same_model_twice_is_one_version(artifact_folder, versions_dir):
    first = ModelVersion.objects.install(artifact_folder)
    assert ModelVersion.objects.install(artifact_folder) == first
    assert ModelVersion.objects.count() == 1
    assert len(list(versions_dir.iterdir())) == 1


def test_numbers_count_up_for_each_name(artifact_folder, tmp_path):
    ModelVersion.objects.install(artifact_folder)
    assert str(other(tmp_path, 1)) == "tiny:2"
    assert str(other(tmp_path, 2, name="zoo")) == "zoo:1"
    assert str(other(tmp_path, 3)) == "tiny:3"


def test_a_folder_left_by_a_killed_installation_is_used(artifact_folder):
    version = ModelVersion.objects.install(artifact_folder)
    version.delete()
    assert version.path.exists()
    assert ModelVersion.objects.install(artifact_folder).digest == version.digest


def test_a_lost_folder_comes_back_by_installing_again(artifact_folder):
    version = ModelVersion.objects.install(artifact_folder)
    shutil.rmtree(version.path)
    assert ModelVersion.objects.install(artifact_folder) == version
    version.activate()


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_model_is_not_installed(artifact_folder, tmp_path, versions_dir, name):
    folder = shutil.copytree(artifact_folder, tmp_path / "model")
    HOSTILE[name](folder)
    with pytest.raises(ArtifactError, match=SENTENCES[name]):
        ModelVersion.objects.install(folder)
    assert ModelVersion.objects.count() == 0
    assert not versions_dir.exists() or list(versions_dir.iterdir()) == []


# --- activating ---------------------------------------------------------------------------------------------------
def test_one_version_is_active_at_a_time(artifact_folder, tmp_path):
    first, second = ModelVersion.objects.install(artifact_folder), other(tmp_path)
    assert ModelVersion.objects.active() is None
    for version in (first, second, second, first):
        version.activate()
        assert ModelVersion.objects.active() == version
        assert version.is_active and version.activated_at is not None
        assert ModelVersion.objects.filter(is_active=True).count() == 1


def test_the_database_itself_allows_one_active_version(artifact_folder, tmp_path):
    ModelVersion.objects.install(artifact_folder).activate()
    second = other(tmp_path)
    with pytest.raises(IntegrityError), transaction.atomic():
        ModelVersion.objects.filter(pk=second.pk).update(is_active=True)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_version_that_went_bad_is_not_activated_and_the_reason_is_kept(active_version, tmp_path, picture, name):
    second = other(tmp_path)
    HOSTILE[name](second.path)
    with pytest.raises(ArtifactError) as refusal:
        second.activate()
    second.refresh_from_db()
    assert second.failure == str(refusal.value) != ""
    assert ModelVersion.objects.active() == active_version
    assert apps.get_app_config("classifier").predictor.predict(picture).identity.digest == active_version.digest


def test_a_sound_model_in_the_place_of_another_is_not_activated(active_version, tmp_path):
    second, third = other(tmp_path, 1), other(tmp_path, 2)
    shutil.rmtree(second.path)
    shutil.copytree(third.path, second.path)
    with pytest.raises(ArtifactError, match="is not the one that was installed"):
        second.activate()


def test_a_version_that_was_mended_can_be_activated_and_its_failure_is_gone(active_version, tmp_path):
    second = other(tmp_path)
    data = (second.path / "model.onnx").read_bytes()
    (second.path / "model.onnx").write_bytes(b"")
    with pytest.raises(ArtifactError):
        second.activate()
    (second.path / "model.onnx").write_bytes(data)
    second.activate()
    second.refresh_from_db()
    assert second.failure == "" and second.is_active


def test_what_dies_in_the_middle_of_an_activation_changes_nothing(active_version, tmp_path, monkeypatch):
    second = other(tmp_path)
    monkeypatch.setattr(artifact, "verify", lambda folder: (_ for _ in ()).throw(MemoryError))
    with pytest.raises(MemoryError):
        second.activate()
    assert ModelVersion.objects.active() == active_version


# --- two at once --------------------------------------------------------------------------------------------------
def at_once(works) -> list[BaseException]:
    """Runs all at the same time, each with a database connection of its own -> what went wrong."""
    errors: list[BaseException] = []
    together = threading.Barrier(len(works))

    def run(work) -> None:
        together.wait()
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - told to the test
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return errors


@pytest.mark.django_db(transaction=True)
def test_administrators_who_activate_at_the_same_time_leave_one_active_version(artifact_folder, tmp_path):
    versions = [ModelVersion.objects.install(artifact_folder), *(other(tmp_path, seed) for seed in (1, 2, 3))]
    for _ in range(5):
        assert at_once([version.activate for version in versions]) == []
        assert ModelVersion.objects.filter(is_active=True).count() == 1


@pytest.mark.django_db(transaction=True)
def test_models_installed_at_the_same_time_get_numbers_of_their_own(artifact_folder, tmp_path):
    folders = [make_artifact(tmp_path / f"m{seed}", seed=seed) for seed in range(4)]
    works = [lambda folder=folder: ModelVersion.objects.install(folder) for folder in (*folders, *folders)]
    assert at_once(works) == []
    assert sorted(ModelVersion.objects.values_list("number", flat=True)) == [1, 2, 3, 4]
