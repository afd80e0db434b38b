"""What only a GPU can show: run these where there is one."""

import numpy as np
import pytest
import torch

from classifier import artifact, preprocess
from classifier.engines.onnx import OnnxEngine
from classifier.ensemble import on_device
from classifier.predictor import Predictor
from tests.engines import STARTER, EngineProcess, asking, identity, load_there
from tests.pictures import encode, smooth

DEVICE = "cuda:0"
SPEC = artifact.read(STARTER)
PHOTOS = [encode(smooth(seed)) for seed in range(16)]
NEAR = 0.02  # of a probability

pytestmark = [
    pytest.mark.alone,
    pytest.mark.skipif(torch.cuda.device_count() == 0, reason="this machine has no GPU"),
]


def pictures(count: int) -> np.ndarray:
    some = np.stack([preprocess.pixels(photo, SPEC.preprocessing) for photo in PHOTOS])
    return np.ascontiguousarray(np.resize(some, (count, *some.shape[1:])))


def expected(count: int) -> np.ndarray:
    logits = OnnxEngine(STARTER / "model.onnx", threads=2)(preprocess.normalize(pictures(16), SPEC.preprocessing))
    return SPEC.calibration.probabilities(np.resize(logits, (count, logits.shape[1])))


def test_it_answers_nearly_as_the_processor_and_with_the_same_labels():
    _, engine = on_device(STARTER, DEVICE)
    found = SPEC.calibration.probabilities(engine(pictures(16)))
    assert str(engine.device) == DEVICE
    assert np.abs(found - expected(16)).max() < NEAR
    engine.precision = torch.float32
    exact = SPEC.calibration.probabilities(engine(pictures(16)))
    assert np.abs(exact - expected(16)).max() < 1e-3


def test_a_pass_that_does_not_fit_into_its_memory_goes_in_halves():
    _, engine = on_device(STARTER, DEVICE)
    torch.cuda.empty_cache()
    _, whole = torch.cuda.mem_get_info(DEVICE)
    many = pictures(256)
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved(DEVICE) + 200 * 1024**2) / whole, DEVICE)
    try:
        found = SPEC.calibration.probabilities(engine(many))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, DEVICE)
    assert str(engine.device) == DEVICE
    assert np.abs(found - expected(256)).max() < NEAR


def test_the_engine_process_answers_there(tmp_path):
    here = Predictor(threads=2, places=64, max_wait_seconds=60)
    here.load(identity(STARTER), STARTER)
    with EngineProcess(tmp_path, device=DEVICE) as process:
        process.wait_for("listens")
        there = asking(process.address)
        load_there(there, STARTER)
        for photo in PHOTOS:
            found = there.predict(photo)
            assert found.device == DEVICE
            assert np.abs(found.probabilities - here.predict(photo).probabilities).max() < NEAR
