"""ONNX Runtime on the CPU gives what the arithmetic says."""

import os
import subprocess
import sys

import numpy as np
import pytest

from classifier import artifact
from classifier.engines.onnx import EngineError, OnnxEngine
from tests.artifacts import make_artifact, make_weights

pytestmark = pytest.mark.alone


@pytest.fixture(scope="module")
def images(artifact_folder) -> np.ndarray:
    preprocessing = artifact.read(artifact_folder).preprocessing
    return np.stack([artifact.golden_input(seed, preprocessing) for seed in range(5)])  # (B, 3, H, W)


def by_hand(weights: dict[str, np.ndarray], images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The network of the tests in numpy: images (B, 3, H, W) -> features (B, C, h, w), logits (B, K)"""
    padded = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))[:, :, ::2, ::2]
    conv = np.einsum("bihwxy,oixy->bohw", windows, weights["conv.weight"]) + weights["conv.bias"][:, None, None]
    features = np.maximum(conv, 0)
    return features, features.mean((2, 3)) @ weights["head.weight"].T + weights["head.bias"]


@pytest.mark.parametrize("threads", [1, 2])
def test_it_answers_what_numpy_computes(artifact_folder, images, threads):
    engine = OnnxEngine(artifact_folder / "model.onnx", threads=threads)
    features, logits = by_hand(make_weights(5, seed=0), images)
    assert engine(images).dtype == np.float32
    np.testing.assert_allclose(engine(images), logits, atol=1e-4)
    np.testing.assert_allclose(engine.features(images), features, atol=1e-4)


def test_a_picture_alone_and_in_a_batch_gets_the_same_answer(artifact_folder, images):
    engine = OnnxEngine(artifact_folder / "model.onnx", threads=1)
    np.testing.assert_allclose(engine(images[2:3])[0], engine(images)[2], atol=1e-5)


def test_a_network_without_a_feature_map_says_so(tmp_path, images):
    engine = OnnxEngine(make_artifact(tmp_path / "plain", features=False) / "model.onnx", threads=1)
    assert engine.outputs == ("logits",)
    with pytest.raises(EngineError, match="no feature map"):
        engine.features(images)


def test_a_picture_of_another_size_is_an_engine_error(artifact_folder):
    engine = OnnxEngine(artifact_folder / "model.onnx", threads=1)
    with pytest.raises(EngineError):
        engine(np.zeros((1, 3, 31, 32), np.float32))


def test_threads_and_spinning_are_as_asked(artifact_folder):
    options = OnnxEngine(artifact_folder / "model.onnx", threads=3).session.get_session_options()
    assert options.intra_op_num_threads == 3
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"


@pytest.mark.parametrize(("module", "session"), [("classifier.engines.onnx", []), ("onnxruntime", [".ses"])])
def test_the_runtime_begins_no_session_with_its_maker(tmp_path, module, session):
    """It keeps the session's name in a file; unasked it would begin one, but not where `CI` is set."""
    named = {name: value for name, value in os.environ.items() if name not in ("CI", "ORT_DISABLE_TELEMETRY")}
    subprocess.run([sys.executable, "-c", f"import {module}"], env=named | {"TMPDIR": str(tmp_path)}, check=True)
    assert [file.name for file in tmp_path.iterdir()] == session
