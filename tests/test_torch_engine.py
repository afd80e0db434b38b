"""The engine of GPUs, tried on the processor: its answers, its haste, and a memory that is too small."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from classifier import artifact, preprocess
from classifier.artifact import DeviceLost, golden_input
from classifier.engines.onnx import EngineError, OnnxEngine
from classifier.engines.torch import TorchEngine, exists
from classifier.ensemble import Combine, Ensemble
from classifier.sandbox import Sandbox
from tests.pictures import encode, smooth

pytestmark = pytest.mark.alone

ROOT = Path(__file__).resolve().parent.parent
STARTER = ROOT / "classifier" / "starter"
SPEC = artifact.read(STARTER)
IMAGES = np.stack([golden_input(seed, SPEC.preprocessing) for seed in range(4)])


@pytest.fixture
def engine() -> TorchEngine:
    return TorchEngine(STARTER, SPEC, device="cpu")


def too_small_for(engine: TorchEngine, monkeypatch, most: int) -> list[int]:
    """Let it run out of memory with more than so many pictures at once; how many it was given each time."""
    given: list[int] = []
    whole = engine.net.forward

    def forward(batch):
        given.append(len(batch))
        if len(batch) > most:
            raise torch.OutOfMemoryError("out of memory")
        return whole(batch)

    monkeypatch.setattr(engine.net, "forward", forward)
    return given


def test_it_answers_as_onnx_runtime_does(engine):
    expected = OnnxEngine(STARTER / "model.onnx", threads=1)(IMAGES)
    answers = engine(IMAGES)
    assert answers.dtype == np.float32 and answers.shape == (4, 120)
    assert np.abs(answers - expected).max() < 1e-4 * np.abs(expected).max()
    artifact.verify_golden(engine, SPEC)


def test_pictures_as_they_are_get_the_answer_of_what_a_network_sees(engine):
    pictures = np.stack([preprocess.pixels(encode(smooth(seed)), SPEC.preprocessing) for seed in range(4)])
    expected = engine(preprocess.normalize(pictures, SPEC.preprocessing))
    assert pictures.dtype == np.uint8
    assert np.abs(engine(pictures) - expected).max() < 1e-5 * np.abs(expected).max()


def test_it_goes_over_to_bfloat16_where_the_golden_answers_stay(engine, monkeypatch):
    exact = SPEC.calibration.probabilities(engine(IMAGES))
    engine.hasten(IMAGES, SPEC)
    if engine.precision == torch.bfloat16:
        assert np.abs(SPEC.calibration.probabilities(engine(IMAGES)) - exact).max() < 0.02
    monkeypatch.setattr("classifier.engines.torch.NEAR", 0.0)
    engine.precision = torch.float32
    engine.hasten(IMAGES, SPEC)
    assert engine.precision == torch.float32


def test_a_pass_that_does_not_fit_goes_in_halves(engine, monkeypatch):
    expected = engine(IMAGES)
    given = too_small_for(engine, monkeypatch, 1)
    assert np.allclose(engine(IMAGES), expected, atol=1e-4)
    assert given == [4, 2, 1, 1, 2, 1, 1]


def test_where_not_even_one_picture_fits_there_is_an_error_on_the_processor(engine, monkeypatch):
    too_small_for(engine, monkeypatch, 0)
    with pytest.raises(EngineError, match="not even one picture fits"):
        engine(IMAGES)


def test_where_not_even_one_picture_fits_into_a_gpu_the_processor_takes_over(engine, monkeypatch):
    expected = engine(IMAGES)
    whole = engine._forward

    def forward(images):
        if engine.device.type == "cuda":
            raise torch.OutOfMemoryError("out of memory")
        return whole(images)

    monkeypatch.setattr(engine, "_forward", forward)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    engine.device, engine.precision = torch.device("cuda:0"), torch.bfloat16
    assert np.allclose(engine(IMAGES), expected, atol=1e-4)
    assert (engine.device.type, engine.precision) == ("cpu", torch.float32)


def test_a_device_that_gives_no_answer_is_told_as_lost(engine, monkeypatch):
    def lost(batch):
        raise torch.AcceleratorError("device-side assert triggered")

    monkeypatch.setattr(engine.net, "forward", lost)
    with pytest.raises(DeviceLost, match="cpu: device-side assert"):
        engine(IMAGES)


def failing_move(monkeypatch, error: Exception) -> None:
    """A network of which half has moved when the device says that."""
    whole = TorchEngine._move

    def move(engine: TorchEngine) -> None:
        if engine.device.type != "cpu":
            raise error
        whole(engine)

    monkeypatch.setattr(TorchEngine, "_move", move)


def test_a_network_that_does_not_fit_into_a_gpu_is_on_the_processor(monkeypatch):
    failing_move(monkeypatch, torch.OutOfMemoryError("out of memory"))
    engine = TorchEngine(STARTER, SPEC, device="cuda:0")
    assert str(engine.device) == "cpu"
    artifact.verify_golden(engine, SPEC)


def test_a_device_that_is_lost_while_a_network_moves_there_is_told(monkeypatch):
    failing_move(monkeypatch, torch.AcceleratorError("device-side assert triggered"))
    with pytest.raises(DeviceLost, match="cuda:0: device-side assert"):
        TorchEngine(STARTER, SPEC, device="cuda:0")


def test_torch_says_which_devices_there_are(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert [exists(name) for name in ("cpu", "cpu:0", "cuda", "cuda:0", "cuda:1")] == [True, True, True, True, False]


def test_weights_of_another_network_are_refused():
    other = replace(SPEC, architecture={"name": "resnet18", "head": {"kind": "linear"}})
    with pytest.raises(EngineError, match="do not fit resnet18"):
        TorchEngine(STARTER, other, device="cpu")


def test_an_ensemble_on_a_device_of_torch_answers_as_on_the_processor(monkeypatch):
    photos = [encode(smooth(seed)) for seed in range(3)]
    folders = [(STARTER, artifact.digest(STARTER))]
    usual = Ensemble.load(folders, Combine.MEAN, threads=1)
    monkeypatch.setattr("classifier.engines.torch.NEAR", -1.0)  # stay in float32
    other = Ensemble.load(folders, Combine.MEAN, threads=1, device="cpu:0")
    with Sandbox() as sandbox:
        decoded = [usual.decode(sandbox, photo) for photo in photos]
    for expected, found in zip(usual.answer(decoded), other.answer(decoded), strict=True):
        assert np.abs(expected.probabilities - found.probabilities).max() < 1e-4
    assert (usual.device, other.device) == ("cpu", "cpu:0")


def test_what_the_worker_imports_before_a_gpu_is_asked_for_has_no_torch():
    code = (
        "import os, sys; os.environ['DJANGO_SETTINGS_MODULE'] = 'breedsite.settings'; import django; django.setup();"
        "import classifier.tasks, classifier.models.predicting; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
