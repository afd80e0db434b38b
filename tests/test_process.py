"""The training process as its supervisor sees it: a job file, events, a signal, an exit code."""

import hashlib
import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from classifier import artifact
from tests.barriers import after_event
from tests.trainings import LABELS, RECIPE, events, start, write_job
from trainer import answers
from trainer.process import FAILED, LEFT, NO_SPACE
from trainer.split import PARTS

pytestmark = pytest.mark.alone


def done(job: Path) -> tuple[int, list[dict[str, Any]]]:
    process = start(job)
    said = events(process)
    return process.returncode, said


def named(said: list[dict[str, Any]], event: str) -> list[dict[str, Any]]:
    return [one for one in said if one["event"] == event]


def figures(said: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the epochs brought, without what a clock says."""
    return [{name: value for name, value in one.items() if "second" not in name} for one in named(said, "epoch")]


def weights(folder: Path) -> str:
    return hashlib.sha256((folder / "weights.safetensors").read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """A training that nobody disturbed: its folder and what it said."""
    folder = tmp_path_factory.mktemp("whole")
    code, said = done(write_job(folder))
    assert code == 0, (folder / "attempt-1.log").read_text()
    return folder, said


def test_it_tells_its_way_and_ends_with_an_artifact(whole):
    folder, said = whole
    (begun,) = named(said, "started")
    assert (begun["epochs"], begun["steps_per_epoch"], begun["photos"]) == (3, 3, 24)
    assert [one["number"] for one in named(said, "epoch")] == [1, 2, 3]
    for epoch in named(said, "epoch"):
        assert {"loss", "accuracy", "validation_loss", "validation_top1", "images_per_second"} < epoch.keys()
        assert [step for step, _, _ in epoch["trail"]] == [1, 2, 3]
        assert epoch["trail"][-1][1] == epoch["learning_rate"]
    step = named(said, "step")[0]
    assert step["number"] == 1 and step["memory_bytes"] > 1e8 and step["cpu_seconds"] > 0
    assert "gpu_memory_bytes" not in step  # it trains on the processor
    assert all(one["trail"][-1][0] == one["number"] for one in named(said, "step"))
    (candidate,) = named(said, "candidate")
    spec = artifact.verify(Path(candidate["folder"]))
    assert candidate["digest"] == artifact.digest(folder / "artifact")
    assert (spec.name, list(spec.labels)) == ("squares", LABELS)
    assert spec.quality is not None and (spec.quality.split, spec.quality.n) == ("test", 3)
    assert spec.origin["split"] == {"train": 24, "validation": 3, "test": 3}
    assert spec.origin["dataset_fingerprint"] == "0" * 64
    assert spec.origin["recipe"].items() >= RECIPE.items()


def test_it_writes_down_its_answer_to_every_photo(whole):
    folder, said = whole
    assert named(said, "asking")[-1] == {"event": "asking", "done": 30, "total": 30}
    found = answers.read(folder / "attempt-1" / "answers.npy")
    spec = artifact.read(folder / "artifact")
    assert sorted(found["photo"]) == list(range(100, 130))
    by_part = {part: found[answers.chosen(found, [part])] for part in PARTS}
    assert {part: len(rows) for part, rows in by_part.items()} == {"train": 24, "validation": 3, "test": 3}
    assert spec.quality is not None
    test = by_part["test"]
    assert int((test["answer"] == test["label"]).sum()) == spec.quality.top1.correct
    assert float(-np.log(test["own"]).mean()) == pytest.approx(spec.quality.loss, rel=1e-4)
    assert LABELS[test["label"][test["photo"] == 101][0]] == "chow"


def test_a_signal_in_the_middle_of_an_epoch_changes_no_bit_of_the_result(whole, tmp_path, monkeypatch):
    """Left on SIGTERM, then killed without a word, then finished: by three processes in three folders."""
    folder, undisturbed = whole
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    after_event(tmp_path, "step")
    first = start(write_job(tmp_path))
    for line in first.stdout:
        if json.loads(line)["event"] == "step":
            first.send_signal(signal.SIGTERM)
            break
    first.stdout.read()
    assert first.wait(60) == LEFT
    assert [file.suffix for file in (tmp_path / "attempt-1").iterdir()] == [".checkpoint"]

    after_event(tmp_path, "epoch")
    second = start(write_job(tmp_path, work=str(tmp_path / "attempt-2"), earlier=[str(tmp_path / "attempt-1")]))
    for line in second.stdout:
        if json.loads(line)["event"] == "epoch":
            second.kill()
            break
    second.stdout.read()
    assert second.wait(60) == -signal.SIGKILL

    monkeypatch.delenv("PYTHONPATH")
    earlier = [str(tmp_path / f"attempt-{number}") for number in (1, 2)]
    code, said = done(write_job(tmp_path, work=str(tmp_path / "attempt-3"), earlier=earlier))
    assert code == 0
    assert figures(said) == figures(undisturbed)
    assert weights(tmp_path / "artifact") == weights(folder / "artifact")
    assert not any(Path(name).exists() for name in earlier)  # the last attempt stands on its own


def test_checkpoints_are_written_within_an_epoch_too(tmp_path):
    code, _ = done(write_job(tmp_path, checkpoint_seconds=0.0, recipe={"epochs": 1}))
    assert code == 0
    names = [file.name for file in sorted((tmp_path / "attempt-1").glob("*.checkpoint"))]
    assert names == ["epoch-00000-step-0000003.checkpoint", "epoch-00001-step-0000000.checkpoint"]


def test_the_best_epoch_of_a_training_that_was_left_can_be_published(tmp_path):
    process = start(write_job(tmp_path))
    for line in process.stdout:
        if json.loads(line)["event"] == "epoch":
            process.send_signal(signal.SIGTERM)
            break
    process.stdout.read()
    assert process.wait(60) in (LEFT, 0)  # 0 where it was quicker
    out = tmp_path / "best"
    code, said = done(
        write_job(
            tmp_path, work=str(tmp_path / "attempt-2"), earlier=[str(tmp_path / "attempt-1")], only_publish=True,
            out=str(out),
        )
    )  # fmt: skip
    assert code == 0
    assert {one["event"] for one in said} == {"asking", "candidate"} and said[-1]["event"] == "candidate"
    spec = artifact.verify(out)
    assert spec.origin["best_epoch"] in (1, 2, 3)
    assert spec.origin["split"]["train"] == 24


def test_a_version_can_be_trained_further(whole, tmp_path):
    folder, said = whole
    continues = str(folder / "artifact" / "weights.safetensors")
    code, further = done(write_job(tmp_path, continues=continues, recipe={"epochs": 1}))
    assert code == 0
    assert named(further, "epoch")[0]["loss"] < named(said, "epoch")[0]["loss"]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"recipe": {"learning_rate": 1e3, "head_learning_rate": 1e3, "clip_norm": 0}}, "The loss became NaN at epoch"),
        ({"recipe": {"epochs": 0}}, "epochs must lie between"),
        ({"recipe": {"weights": "pretrained"}, "weights": "/nowhere/squeezenet.pth"}, "There is no file /nowhere/squ"),
    ],
)
def test_what_a_person_can_mend_is_said_in_words(tmp_path, changes, sentence):
    """Nothing that is not finite stands in an event, the loss included."""
    code, said = done(write_job(tmp_path, **changes))
    assert code == FAILED
    assert sentence in said[-1]["sentence"] and said[-1]["event"] == "failed"


def test_a_photo_that_changed_since_the_import_is_refused_by_its_name(tmp_path):
    job = write_job(tmp_path)
    entry = json.loads((tmp_path / "photos" / "manifest.jsonl").read_text().splitlines()[5])
    Path(entry["file"]).write_bytes(b"other")
    code, said = done(job)
    assert code == FAILED
    assert said[-1]["sentence"].startswith(f"The photo {entry['name']} has changed since it was imported")


def test_a_full_disk_is_said_with_what_is_needed_and_what_is_free(tmp_path, monkeypatch):
    """Before anything is trained."""
    job = write_job(tmp_path)
    (tmp_path / "sitecustomize.py").write_text(
        "import shutil, types\nshutil.disk_usage = lambda _: types.SimpleNamespace(free=10**6)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    code, said = done(job)
    assert code == NO_SPACE
    assert said[-1]["event"] == "no_space" and said[-1]["needs_bytes"] > said[-1]["free_bytes"] == 10**6


def test_a_disk_that_fills_during_a_write_leaves_the_good_checkpoint(tmp_path, monkeypatch):
    job = write_job(tmp_path, checkpoint_seconds=0.0)
    (tmp_path / "sitecustomize.py").write_text(
        "import errno, os\n"
        "good, count = os.fsync, []\n"
        "def full(handle):\n"
        "    count.append(1)\n"
        "    if len(count) > 4: raise OSError(errno.ENOSPC, 'No space left on device')\n"
        "    good(handle)\n"
        "os.fsync = full\n"
    )
    with monkeypatch.context() as patch:
        patch.setenv("PYTHONPATH", str(tmp_path))
        code, said = done(job)
    assert (code, said[-1]["event"]) == (NO_SPACE, "no_space")
    assert [file.suffix for file in (tmp_path / "attempt-1").iterdir()] == [".checkpoint"] * 2
    code, said = done(job)  # there is room again
    assert code == 0 and [one["number"] for one in named(said, "epoch")] == [1, 2, 3]


def test_too_little_memory_is_said_with_advice(tmp_path, monkeypatch):
    job = write_job(tmp_path)
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "def trace(frame, event, argument):\n"
        "    if frame.f_code.co_name == 'publish': raise MemoryError\n"
        "sys.setprofile(trace)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    code, said = done(job)
    assert code == FAILED and "try a smaller batch" in said[-1]["sentence"]
