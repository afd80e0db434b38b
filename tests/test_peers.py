"""Trainings by two processes on the processor: what is killed, what is asked to leave, and what each leaves behind."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from classifier import artifact
from tests.barriers import after_event
from tests.processes import children, gone, open_files
from tests.test_process import figures, named, weights
from tests.trainings import ROOT, events, start, write_job
from trainer import environment
from trainer.process import FAILED
from trainer.teller import LEFT

pytestmark = [pytest.mark.alone, pytest.mark.timeout(240)]

TWO = "cpu+cpu"


def finished(job: Path) -> tuple[int, list[dict[str, Any]]]:
    """The job by two processes, to its end, which leaves nobody behind and no file where they met."""
    process = start(job)
    told = events(process)
    assert not job.with_suffix(".group").exists()
    return process.returncode, told


def until(process: subprocess.Popen[str], event: str, times: int = 1) -> None:
    """Hear that event so many times."""
    assert process.stdout is not None
    for line in process.stdout:
        times -= json.loads(line)["event"] == event
        if not times:
            return
    pytest.fail(f"it ended without telling {event}")


def code_of(process: subprocess.Popen[str], *, within_seconds: float) -> int:
    assert process.stdout is not None
    began = time.monotonic()
    process.stdout.read()
    code = process.wait(100)
    assert time.monotonic() - began < within_seconds
    return code


MANY = {"epochs": 12}


@pytest.fixture(scope="module")
def calm(tmp_path_factory) -> tuple[Path, list[dict[str, Any]]]:
    """A training by two processes that nobody disturbed: its folder and what it said."""
    folder = tmp_path_factory.mktemp("calm")
    code, said = finished(write_job(folder, device=TWO, recipe=MANY))
    assert code == 0, (folder / "attempt-1.log").read_text()
    return folder, said


def test_it_tells_everything_once_and_the_card_says_by_how_many_it_was_trained(calm):
    folder, said = calm
    (begun,) = named(said, "started")
    assert (begun["steps_per_epoch"], begun["photos"]) == (3, 24)
    assert [one["number"] for one in named(said, "epoch")] == list(range(1, 13))
    assert said[-1]["event"] == "candidate"
    origin = artifact.verify(folder / "artifact").origin
    assert origin["processes"] == 2 and origin["device"].endswith(", 2 processes")


@pytest.mark.parametrize("where", ["in a sum", "between two steps"])
def test_when_one_is_killed_all_end_at_once_and_the_result_is_the_same_afterwards(calm, tmp_path, monkeypatch, where):
    """Whoever started them hears the signal that killed one."""
    folder, said = calm
    if where == "between two steps":
        after_event(tmp_path, "epoch")
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    first = start(write_job(tmp_path, device=TWO, recipe=MANY))
    until(first, "epoch", 1 if where == "between two steps" else 3)
    (other,) = children(first.pid)
    os.kill(other, signal.SIGKILL)
    assert code_of(first, within_seconds=15) == -signal.SIGKILL
    assert gone([other])
    monkeypatch.delenv("PYTHONPATH", raising=False)
    again = write_job(
        tmp_path, device=TWO, recipe=MANY, work=str(tmp_path / "attempt-2"), earlier=[str(tmp_path / "attempt-1")]
    )
    code, told = finished(again)
    assert code == 0
    assert figures(told) == figures(said)
    assert weights(tmp_path / "artifact") == weights(folder / "artifact")


def test_when_they_are_asked_to_leave_there_is_a_checkpoint_in_the_epoch_and_the_result_is_the_same(
    calm, tmp_path, monkeypatch
):
    folder, said = calm
    after_event(tmp_path, "step")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    first = start(write_job(tmp_path, device=TWO, recipe=MANY))
    until(first, "step")
    left = children(first.pid)
    first.send_signal(signal.SIGTERM)
    assert code_of(first, within_seconds=8) == LEFT
    assert len(left) == 1 and gone(left, within_seconds=1)
    (file,) = (tmp_path / "attempt-1").iterdir()
    assert file.name == "epoch-00000-step-0000002.checkpoint"  # that of the batch under way
    monkeypatch.delenv("PYTHONPATH")
    code, told = finished(write_job(tmp_path, device=TWO, recipe=MANY))
    assert code == 0
    assert figures(told) == figures(said)
    assert weights(tmp_path / "artifact") == weights(folder / "artifact")


def test_nobody_outlives_the_first_and_no_port_is_open_to_the_network(tmp_path):
    first = start(write_job(tmp_path, device=TWO, recipe={"epochs": 2000}))
    until(first, "step")
    left = children(first.pid)
    assert len(left) == 1 and listens([first.pid, *left]) == {"0100007F"}  # 127.0.0.1
    first.kill()
    assert gone(left, within_seconds=5)
    first.communicate()


def listens(processes: list[int]) -> set[str]:
    """The addresses at which they wait for connections, in hexadecimal as the kernel has them."""
    sockets = {file.name for process in processes for file in open_files(process)}
    lines = [
        line.split() for table in ("tcp", "tcp6") for line in Path("/proc/net", table).read_text().splitlines()[1:]
    ]
    return {fields[1].partition(":")[0] for fields in lines if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets}


def test_what_a_person_can_mend_is_said_in_words_by_whoever_meets_it(tmp_path):
    """The last photo is one that the second process reads."""
    job = write_job(tmp_path, device=TWO)
    entry = json.loads((tmp_path / "photos" / "manifest.jsonl").read_text().splitlines()[-1])
    Path(entry["file"]).write_bytes(b"other")
    code, said = finished(job)
    assert code == FAILED
    assert said[-1]["sentence"].startswith(f"The photo {entry['name']} has changed since it was imported")


def test_a_training_that_diverges_fails_with_its_sentence(tmp_path):
    wild = {"learning_rate": 1e3, "head_learning_rate": 1e3, "clip_norm": 0}
    code, said = finished(write_job(tmp_path, device=TWO, recipe=wild))
    assert code == FAILED and "The loss became NaN at epoch" in said[-1]["sentence"]


def test_an_error_of_another_process_that_nobody_foresaw_is_in_the_log(tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "def trace(frame, event, argument):\n"
        "    if frame.f_code.co_name == 'follow': raise KeyError('surprise')\n"
        "sys.setprofile(trace)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    job = write_job(tmp_path, device=TWO)
    code, said = finished(job)
    assert code == FAILED and "failed" not in {one["event"] for one in said}
    assert "surprise" in job.with_suffix(".log").read_text()


def test_a_head_alone_is_trained_by_one_process(calm, tmp_path):
    recipe = {"trainable": "head", "weights": "pretrained", "batch_norm": "frozen", "epochs": 1}
    start_at = str(calm[0] / "artifact" / "weights.safetensors")
    code, said = finished(write_job(tmp_path, device=TWO, continues=start_at, recipe=recipe))
    assert code == 0 and said[-1]["event"] == "candidate"
    assert "processes" not in artifact.verify(tmp_path / "artifact").origin


def test_torchrun_may_start_them_as_well(calm, tmp_path):
    """On a processor of as many cores to the same bits; its exit code tells less."""
    job = write_job(tmp_path, recipe=MANY)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*command, "-m", "trainer.process", str(job)],
        cwd=ROOT, env=environment.completed(os.environ), capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(figures(told)) == 12
    for one, other in zip(figures(told), figures(calm[1]), strict=True):
        assert one["validation_loss"] == pytest.approx(other["validation_loss"], abs=1e-4)
    assert artifact.verify(tmp_path / "artifact").origin["processes"] == 2
