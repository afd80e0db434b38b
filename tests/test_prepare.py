"""`manage.py prepare`: what must have happened before the site starts, twice without harm."""

import io
import re
import shutil

import pytest
from django.contrib.auth import authenticate, get_user_model
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db.utils import OperationalError

from breedsite.management.commands import prepare
from classifier.models import ModelVersion
from tests.artifacts import make_artifact

pytestmark = pytest.mark.django_db


def run() -> tuple[str, str]:
    out, err = io.StringIO(), io.StringIO()
    call_command("prepare", stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


@pytest.fixture
def starter(artifact_folder, versions_dir, tmp_path, monkeypatch):
    folder = tmp_path / "starter"
    shutil.copytree(artifact_folder, folder)
    monkeypatch.setattr(prepare, "STARTER", folder)
    return folder


def test_the_starter_is_installed_and_answers(starter):
    said, complaints = run()
    assert ModelVersion.objects.get().is_active
    assert "is installed and active" in said
    assert complaints == ""


def test_the_second_time_changes_nothing(starter):
    run()
    before = ModelVersion.objects.get()
    said, _ = run()
    after = ModelVersion.objects.get()
    assert (after.pk, after.activated_at) == (before.pk, before.activated_at)
    assert "password" not in said


def test_a_version_that_somebody_activated_stays_active(starter, tmp_path):
    own = ModelVersion.objects.install(make_artifact(tmp_path / "own", name="own"))
    own.activate()
    run()
    assert ModelVersion.objects.active() == own
    assert ModelVersion.objects.count() == 2


def test_a_damaged_starter_is_told_and_the_start_goes_on(starter):
    (starter / "model.onnx").write_bytes(b"no network")
    said, complaints = run()
    assert complaints.startswith("The starter model was not installed: ")
    assert "model.onnx" in complaints
    assert "The first administrator" in said
    assert not ModelVersion.objects.exists()


def test_without_a_starter_the_start_goes_on_and_says_what_to_do(versions_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(prepare, "STARTER", tmp_path / "nothing")
    said, complaints = run()
    assert "install one with `manage.py importversion FOLDER --activate`" in said
    assert complaints == ""


def test_the_first_administrator_gets_a_generated_name_and_password_once():
    first, second = io.StringIO(), io.StringIO()
    call_command("firstadmin", stdout=first)
    call_command("firstadmin", stdout=second)
    name, password = re.search(r"name (\S+), password (\S+) ", first.getvalue()).groups()
    user = authenticate(username=name, password=password)
    assert user is not None
    assert user.is_superuser
    assert password not in user.password
    assert second.getvalue() == ""


def test_nobody_is_added_where_an_administrator_exists(admin_user):
    out = io.StringIO()
    call_command("firstadmin", stdout=out)
    assert out.getvalue() == ""
    assert list(get_user_model().objects.all()) == [admin_user]


def test_two_first_administrators_differ():
    said = []
    for _ in range(2):
        out = io.StringIO()
        call_command("firstadmin", stdout=out)
        said.append(re.search(r"name (\S+), password (\S+) ", out.getvalue()).groups())
        get_user_model().objects.all().delete()
    assert said[0][0] != said[1][0]
    assert said[0][1] != said[1][1]


def test_a_database_that_cannot_be_used_is_answered_with_a_sentence(monkeypatch):
    def full(self):
        raise OperationalError("database or disk is full")

    monkeypatch.setattr(prepare.Command, "migrate", full)
    with pytest.raises(CommandError, match=r"cannot be used \(database or disk is full\): check DATABASE_URL"):
        call_command("prepare")


def test_a_data_folder_that_is_not_there_is_named(settings, tmp_path):
    """Where SECRET_KEY is set nobody has made it: perhaps its disk is not mounted."""
    settings.DATA_DIR = tmp_path / "not-mounted"
    with pytest.raises(CommandError, match="not-mounted is not there: make it, mount it, or set DATA_DIR"):
        call_command("prepare")
    assert not settings.DATA_DIR.exists()
