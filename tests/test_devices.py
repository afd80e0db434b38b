"""Where trainings run: what the setting says, what the machine has, and what a training makes of its device."""

import json
import signal
import subprocess
from pathlib import Path

import pytest
import torch

from classifier import devices
from classifier.preprocess import Preprocessing
from tests.photos import make_records
from tests.squares import make_dataset, make_run
from tests.trainings import events, start, write_job
from trainer import gpu
from trainer.data import load
from trainer.evaluate import logits_of, logits_on
from trainer.models import supervising
from trainer.models.jobfile import write_job as job_of
from trainer.recipe import Recipe

SMALL = Preprocessing(resize=16, crop=16)


@pytest.fixture(autouse=True)
def forget():
    count = devices.cuda_devices
    count.cache_clear()
    yield
    count.cache_clear()


@pytest.mark.parametrize(
    ("setting", "count", "expected", "warned"),
    [
        ("auto", 0, ("cpu",), False),
        ("auto", 2, ("cuda:0", "cuda:1"), False),
        ("cpu", 2, ("cpu",), False),
        ("cuda", 2, ("cuda:0", "cuda:1"), False),
        ("cuda:1", 2, ("cuda:1",), False),
        ("cuda:2", 2, ("cpu",), True),
        ("cuda", 0, ("cpu",), True),
    ],
)
def test_the_setting_and_the_machine_decide_where_trainings_run(
    monkeypatch, caplog, setting: str, count: int, expected: tuple[str, ...], warned: bool
):
    """Without its GPU a training runs on the processor, with a warning."""
    monkeypatch.setattr(devices, "cuda_devices", lambda: count)
    assert devices.places(setting) == expected
    assert ("the processor is used" in caplog.text) == warned


def test_torch_itself_is_asked_once_and_only_where_there_is_a_driver(monkeypatch, tmp_path):
    asked = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess:
        asked.append(command)
        return subprocess.CompletedProcess(command, 0, "2\n")

    monkeypatch.setattr(devices.subprocess, "run", run)
    monkeypatch.setattr(devices, "DRIVERS", (tmp_path / "driver",))
    assert devices.cuda_devices() == 0
    assert asked == []
    devices.cuda_devices.cache_clear()
    (tmp_path / "driver").touch()
    assert [devices.cuda_devices(), devices.cuda_devices()] == [2, 2]
    assert len(asked) == 1


@pytest.mark.parametrize("answer", ["print('none')", "raise SystemExit(1)", "import time; time.sleep(60)"])
def test_a_torch_that_does_not_answer_leaves_the_processor(monkeypatch, caplog, answer: str):
    monkeypatch.setattr(devices, "DRIVERS", (Path(__file__),))
    monkeypatch.setattr(devices, "ASK", answer)
    monkeypatch.setattr(devices, "ASK_SECONDS", 1.0)
    assert devices.cuda_devices() == 0
    assert "so none is used" in caplog.text


def test_a_device_that_has_gone_since_the_claim_is_replaced_by_the_processor(monkeypatch, caplog):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert gpu.ready("cuda:0") == torch.device("cuda:0")
    assert gpu.ready("cuda:1") == torch.device("cpu")
    assert "There is no cuda:1 any more" in caplog.text


def test_the_same_bits_are_promised_on_the_processor_alone():
    try:
        gpu.settle(torch.device("cuda"))
        assert not torch.are_deterministic_algorithms_enabled()
        gpu.settle(torch.device("cpu"))
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.backends.cudnn.benchmark
    finally:
        torch.use_deterministic_algorithms(False)


def test_photos_that_fit_beside_a_network_move_to_the_gpu_and_others_are_handed_on_from_pinned_memory(monkeypatch):
    photos = load(make_records(("chow", "pug"), 4), ("chow", "pug"), SMALL)
    device = torch.device("meta")  # stands in for a GPU: it keeps no pixels, so none can be read from it
    free = 2 * photos.pixels.nbytes
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free, 10**12))
    there = gpu.resident(photos, device)
    assert there.pixels.device == device and not there.pinned
    pixels, labels = next(there.batches(Recipe(batch_size=3), 0))
    assert pixels.device == device and labels.device.type == "cpu"
    free -= 1
    here = gpu.resident(photos, device)
    assert here.pixels is photos.pixels and here.pinned
    assert gpu.resident(photos, torch.device("cpu")) is photos


def test_validation_photos_that_are_kept_decoded_give_the_same_logits():
    records = make_records(("chow", "pug"), 5)
    photos = load(records, ("chow", "pug"), SMALL)
    seen = [
        ways(lambda images: images.mean(axis=(2, 3)), one, SMALL, batch_size=3)
        for ways, one in ((logits_of, records), (logits_on, photos.pixels.numpy()))
    ]
    assert seen[0].tobytes() == seen[1].tobytes()


@pytest.mark.django_db
def test_runs_are_claimed_for_every_device_of_the_machine_one_on_each(monkeypatch, settings, tmp_path):
    settings.DATASETS_DIR, settings.RUNS_DIR = tmp_path / "datasets", tmp_path / "runs"
    monkeypatch.setattr(devices, "cuda_devices", lambda: 2)
    dataset = make_dataset()
    runs = [make_run(dataset) for _ in range(3)]
    claimed = [supervising.claim() for _ in runs]
    assert claimed == [*runs[:2], None]
    assert [run.device.rpartition(" ")[2] for run in claimed[:2]] == ["cuda:0", "cuda:1"]
    assert json.loads(job_of(claimed[1], only_publish=False).read_text())["device"] == "cuda:1"
    settings.TORCH_DEVICE = "cpu"
    assert supervising.claim() == runs[2]


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has the device that is missing here")
def test_a_training_whose_gpu_is_missing_goes_on_on_the_processor_and_says_so(tmp_path):
    job = write_job(tmp_path, device="cuda:0", recipe={"epochs": 1})
    process = start(job)
    said = events(process)
    assert process.returncode == 0 and said[-1]["event"] == "candidate"
    assert "There is no cuda:0 any more" in job.with_suffix(".log").read_text()


def test_a_gpu_that_fails_ends_the_process_as_a_death_so_that_it_is_started_again(tmp_path, monkeypatch):
    """After a device-side assert every call fails until the process is a new one."""
    job = write_job(tmp_path)
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "def trace(frame, event, argument):\n"
        "    if frame.f_code.co_name == 'settle':\n"
        "        raise sys.modules['torch'].AcceleratorError('CUDA error: device-side assert triggered')\n"
        "sys.setprofile(trace)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    process = start(job)
    assert [one["event"] for one in events(process)] == []
    assert process.returncode == -signal.SIGABRT
    assert "device-side assert" in job.with_suffix(".log").read_text()
