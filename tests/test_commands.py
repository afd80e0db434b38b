"""importversion, activateversion and predict, called as a person calls them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from classifier.models import ModelVersion
from tests.artifacts import make_artifact


@pytest.fixture
def installed(db, versions_dir) -> None:
    """Commands write rows and folders."""


def lines(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def test_importversion_installs_without_activating(installed, artifact_folder, capsys):
    call_command("importversion", artifact_folder)
    assert capsys.readouterr().out.startswith("tiny:1 ")
    assert ModelVersion.objects.active() is None


def test_importversion_activates_when_asked(installed, artifact_folder, capsys):
    call_command("importversion", artifact_folder, "--activate")
    assert "is installed and active" in capsys.readouterr().out
    assert str(ModelVersion.objects.active()) == "tiny:1"


def test_activate_if_none_leaves_an_active_version_alone(installed, artifact_folder, tmp_path):
    call_command("importversion", artifact_folder, "--activate-if-none")
    call_command("importversion", make_artifact(tmp_path / "other", seed=1), "--activate-if-none")
    assert str(ModelVersion.objects.active()) == "tiny:1"
    assert ModelVersion.objects.count() == 2


def test_importversion_says_what_is_wrong_with_a_folder(installed, tmp_path):
    with pytest.raises(CommandError, match=r"nothing cannot be used: spec.json cannot be read"):
        call_command("importversion", tmp_path / "nothing")


@pytest.mark.parametrize("name", ["tiny:2", "tiny", "DIGEST"])
def test_activateversion_takes_a_name_a_number_or_a_digest(installed, artifact_folder, tmp_path, capsys, name):
    call_command("importversion", artifact_folder, "--activate")
    call_command("importversion", make_artifact(tmp_path / "second", seed=1))
    second = ModelVersion.objects.get(number=2)
    call_command("activateversion", second.digest[:12] if name == "DIGEST" else name)
    assert ModelVersion.objects.active() == second
    assert "tiny:2 " in capsys.readouterr().out


@pytest.mark.parametrize("name", ["tiny:9", "tiny:x", "tiny:" + "9" * 30, "other", "0123456789", "", "ab"])
def test_activateversion_names_the_versions_there_are(installed, artifact_folder, name):
    call_command("importversion", artifact_folder)
    with pytest.raises(CommandError, match=r"There is no version .* Installed: tiny:1\."):
        call_command("activateversion", name)


def test_activateversion_says_why_it_was_refused(active_version):
    (active_version.path / "model.onnx").write_bytes(b"")
    with pytest.raises(CommandError, match=r"tiny:1 was not activated: model.onnx has 0 bytes"):
        call_command("activateversion", "tiny:1")


def test_predict_writes_a_json_line_for_each_photo(active_version, make_picture, tmp_path, capsys):
    files = [tmp_path / f"{seed}.png" for seed in range(3)]
    for seed, file in enumerate(files):
        file.write_bytes(make_picture(seed, format="PNG"))
    call_command("predict", *files, "--top", "2")
    answers = lines(capsys.readouterr().out)
    assert [answer["file"] for answer in answers] == [str(file) for file in files]
    for answer in answers:
        assert answer["version"] == {"name": "tiny", "number": 1, "digest": active_version.digest}
        assert len(answer["top"]) == 2
        assert answer["top"][0] == {"label": answer["label"], "probability": answer["probability"]}
        assert answer["sure"] is (answer["probability"] >= 0.3)


def test_predict_goes_on_after_a_bad_file_and_ends_with_1(active_version, picture, tmp_path, capsys):
    (tmp_path / "bad.jpg").write_bytes(b"GIF89a")
    (tmp_path / "good.jpg").write_bytes(picture)
    with pytest.raises(SystemExit) as ended:
        call_command("predict", tmp_path / "bad.jpg", tmp_path / "missing.jpg", tmp_path, tmp_path / "good.jpg")
    assert ended.value.code == 1
    bad, missing, folder, good = lines(capsys.readouterr().out)
    assert bad["code"] == "unsupported_format" and bad["detail"]
    assert missing["code"] == "not_found" and "No such file" in missing["detail"]
    assert folder["code"] == "not_found" and "directory" in folder["detail"]
    assert good["label"]


def test_predict_writes_json_whatever_a_file_is_called(active_version, picture, tmp_path, capsysbinary):
    file = tmp_path / os.fsdecode("b\xe9ß\n.jpg".encode() + b"\xff")
    file.write_bytes(picture)
    call_command("predict", file)
    (answer,) = lines(capsysbinary.readouterr().out.decode("ascii"))
    assert answer["file"] == str(file)


def test_a_reader_that_has_enough_is_no_error():
    command = [sys.executable, "manage.py", "check", "--list-tags"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.close()
    assert process.communicate(timeout=60)[1] == "" and process.returncode == 141


def test_predict_can_ask_another_version(active_version, picture, tmp_path, capsys):
    call_command("importversion", make_artifact(tmp_path / "b", seed=1, labels=("left", "right"), name="sides"))
    (tmp_path / "good.jpg").write_bytes(picture)
    capsys.readouterr()
    call_command("predict", tmp_path / "good.jpg", "--version", "sides:1")
    (answer,) = lines(capsys.readouterr().out)
    assert answer["label"] in ("left", "right")
    assert answer["version"]["name"] == "sides"


def test_predict_says_what_to_do_without_an_active_version(installed):
    with pytest.raises(CommandError, match="importversion FOLDER --activate"):
        call_command("predict", Path("photo.jpg"))
