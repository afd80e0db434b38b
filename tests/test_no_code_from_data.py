"""No door of a model runs code from it: counted by an audit hook in a process of its own, which cannot be taken off."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.artifacts import make_artifact
from tests.model_files import HOSTILE, marker

pytestmark = pytest.mark.alone

ROOT = Path(__file__).resolve().parent.parent
EVENTS = ("pickle.find_class", "subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "socket.connect")

TRIAL = """
import json, os, sys
from pathlib import Path
import django
os.environ["DJANGO_SETTINGS_MODULE"] = "breedsite.settings"
django.setup()
from django.core.management import call_command
call_command("migrate", verbosity=0)
from classifier import artifact
from classifier.artifact import ArtifactError
from classifier.apps import make_predictor
from classifier.guard import Refused
from classifier.models import ModelVersion
from classifier.predictor import Identity

good, picture, *hostile = map(Path, sys.argv[1:])
watched, events = %r, []

def hook(event, arguments):
    if event in watched:
        events.append(event)
    elif event == "open" and "code-ran" in str(arguments[0]):
        events.append("payload")

predictor = make_predictor()
ModelVersion.objects.count()
sys.addaudithook(hook)
version = ModelVersion.objects.install(good)
version.activate()
predictor.load(Identity(version.name, version.number, version.digest), version.path)
answered = refused = same = 0
for folder in hostile:
    doors = (
        lambda: artifact.verify(folder),
        lambda: ModelVersion.objects.install(folder),
        lambda: predictor.load(Identity("evil", 1, artifact.digest(folder)), folder),
    )
    for door in doors:
        try:
            same += door() == version  # its spec.json is the sound one's: what is installed is the sound model
        except ArtifactError:
            refused += 1
    for file in folder.iterdir():  # a model where a photo should be
        try:
            with file.open("rb") as handle:
                predictor.predict(handle.read(11_000_000))
        except Refused:
            refused += 1
    answered += predictor.predict(picture.read_bytes()).identity.digest == version.digest
print(json.dumps({"events": events, "refused": refused, "same": same, "answered": answered}))
"""


@pytest.fixture(scope="module")
def trial(tmp_path_factory, make_picture) -> dict:
    place = tmp_path_factory.mktemp("doors")
    good = make_artifact(place / "good")
    (place / "photo.jpg").write_bytes(make_picture())
    folders = []
    for name in HOSTILE:
        folders.append(shutil.copytree(good, place / name / "model"))
        HOSTILE[name](folders[-1])
    arguments = [str(good), str(place / "photo.jpg"), *map(str, folders)]
    environment = {key: value for key, value in os.environ.items() if key != "DATABASE_URL"}  # a file, not a server
    done = subprocess.run(
        [sys.executable, "-c", TRIAL % (EVENTS,), *arguments],
        cwd=ROOT,
        env=environment | {"DATA_DIR": str(place / "data")},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout) | {"folders": folders, "good": good}


def test_no_hostile_model_ran_code_or_reached_the_network(trial):
    assert trial["events"] == []
    assert [folder for folder in trial["folders"] if marker(folder).exists()] == []


def test_every_door_refused_every_hostile_model(trial):
    files = sum(1 for folder in trial["folders"] for _ in folder.iterdir())
    specs = [folder / "spec.json" for folder in trial["folders"]]
    sound = (trial["good"] / "spec.json").read_bytes()
    unchanged = sum(1 for spec in specs if spec.exists() and spec.read_bytes() == sound)
    assert trial["same"] == unchanged < 10
    assert trial["refused"] == 3 * len(HOSTILE) + files - unchanged


def test_the_sound_model_answered_all_the_while(trial):
    assert trial["answered"] == len(HOSTILE)


def test_the_payload_would_have_been_noticed(tmp_path):
    """The trial can fail: unpickled, the payload leaves its mark and the hook sees it."""
    code = (
        "import sys, pickle; from pathlib import Path; from tests.model_files import Payload\n"
        "seen = []; sys.addaudithook(lambda event, arguments: seen.append(event))\n"
        "pickle.loads(pickle.dumps(Payload(Path(sys.argv[1]))))\n"
        "assert 'pickle.find_class' in seen and Path(sys.argv[1]).exists()\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "code-ran")], cwd=ROOT, check=True, timeout=60)
