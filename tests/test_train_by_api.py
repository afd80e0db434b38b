"""The example program of the README against the real site: from a zip to a version that answers, by the API alone."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from tests.archives import photos, write_zip
from tests.site import FROM_OUTSIDE, ROOT, Site

pytestmark = [pytest.mark.timeout(400), pytest.mark.alone]
PROGRAM = ROOT / "docs" / "train_by_api.py"
TINY = ["architecture=squeezenet1_1", "epochs=1", "batch_size=8", "learning_rate=0.001", "head_learning_rate=0.001"]
KEY = (
    "import django; django.setup(); from django.contrib.auth.models import User; from breedsite.models import ApiKey; "
    "ann = User.objects.create_superuser('ann'); print(ApiKey.objects.issue(ann, name='x', scopes=['admin'])[1])"
)


def output(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    bare = {name: value for name, value in os.environ.items() if name not in (*FROM_OUTSIDE, "DATA_DIR")}
    return subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=bare | environment, capture_output=True, text=True, timeout=300
    )


def test_a_program_goes_from_a_zip_to_a_version_that_answers(tmp_path: Path):
    data, photo = tmp_path / "var", tmp_path / "chow.png"
    sent = photos(count=20)
    archive = write_zip(tmp_path / "two dogs.zip", sent)
    photo.write_bytes(sent["chow/1.png"])
    with Site(data, RECONCILE_SECONDS="1") as site:
        site.wait_for("Ready in")
        made = output("-c", KEY, DATA_DIR=str(data), DJANGO_SETTINGS_MODULE="breedsite.settings")
        address, key = f"http://127.0.0.1:{site.port}", made.stdout.strip()
        arguments = [str(PROGRAM), address, str(archive), str(photo), "--preset", "cifar10-resnet9", "--name", "two"]
        refused = output(*arguments, "--set", "epochs=0", BREEDSITE_KEY=key)
        assert refused.stderr == "epochs must lie between 1 and 10000 epochs, not 0. (invalid_fields)\n"
        done = output(*arguments, "--set", *TINY, BREEDSITE_KEY=key)
    assert done.returncode == 0, done.stderr + site.text
    said = done.stdout.splitlines()
    assert f"two dogs.zip: {archive.stat().st_size} of {archive.stat().st_size} bytes sent" in said
    for words in ("two:2 has 2 labels", "epoch 1: validation loss", "made two:1; right on test photos: "):
        assert any(words in line for line in said), done.stdout
    assert said[-2] == "two:1 answers from now on" and ("Chow" in said[-1] or "Pug" in said[-1])


def test_it_sends_a_zip_in_pieces_and_a_lost_one_again(tmp_path: Path):
    program = runpy.run_path(str(PROGRAM))
    file = tmp_path / "a.zip"
    file.write_bytes(bytes(5 * 1024**2))
    got = bytearray()

    class Lossy:
        """It takes the second piece, and the answer is lost: the program sends it once more."""

        def ask(self, method: str, path: str, body: bytes, kind: str) -> dict[str, object]:
            offset = int(path.partition("offset=")[2].partition("&")[0])
            if offset != len(got):
                raise program["Refused"]({"detail": "", "code": "wrong_offset", "received": len(got)})
            got.extend(body)
            return {"received": len(got) if offset != 2 * 1024**2 else offset}

    program["send"](Lossy(), file)
    assert bytes(got) == file.read_bytes()
