import subprocess
import sys

import numpy as np
import onnx
import pytest
import torch
from safetensors.numpy import load_file

from classifier.artifact import golden_input
from classifier.engines.onnx import OnnxEngine
from classifier.networks import catalogue
from classifier.preprocess import Preprocessing
from trainer.export import ExportError, compare, exported, golden

pytestmark = pytest.mark.alone

SMALL = Preprocessing(resize=32, crop=32)
NAME = "squeezenet1_1"  # the quickest to export


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return catalogue.create({"name": NAME, "head": {"kind": "linear"}}, label_count=4).eval()


@pytest.fixture(scope="module")
def files(net):
    with exported(net, NAME, SMALL) as paths:
        yield paths
    assert not paths["model.onnx"].parent.exists()  # nothing is left of the temporary files


def test_onnx_runtime_answers_as_torch_at_any_batch_size(net, files):
    engine = OnnxEngine(files["model.onnx"], threads=1)
    for count in (1, 2, 5):
        images = np.random.default_rng(count).normal(size=(count, 3, 32, 32)).astype(np.float32)
        with torch.inference_mode():
            expected = net(torch.from_numpy(images)).numpy()
        assert np.abs(engine(images) - expected).max() < 1e-4 * max(1, np.abs(expected).max())


def test_the_second_output_is_the_last_feature_map(net, files):
    engine = OnnxEngine(files["model.onnx"], threads=1)
    assert engine.outputs == ("logits", "features")
    images = golden_input(1, SMALL)[None]
    with torch.inference_mode():
        assert np.allclose(engine.features(images), net.features(torch.from_numpy(images)).numpy(), atol=1e-4)


def test_the_graph_is_one_file_that_passes_onnx_own_check(files):
    onnx.checker.check_model(files["model.onnx"], full_check=True)
    assert {file.name for file in files["model.onnx"].parent.iterdir()} == {"model.onnx", "weights.safetensors"}


def test_the_weights_are_the_networks(net, files):
    state = net.state_dict()
    kept = load_file(files["weights.safetensors"])
    assert kept.keys() == state.keys()
    assert all(np.array_equal(kept[name], state[name].numpy()) for name in state)


def test_a_graph_that_answers_otherwise_is_refused(net, files):
    other = catalogue.create({"name": NAME, "head": {"kind": "linear"}}, label_count=4)
    with pytest.raises(ExportError, match="off by"):
        compare(files["model.onnx"], golden(other, SMALL), SMALL)


def test_the_graph_says_nothing_of_the_machine_that_made_it(files):
    graph = files["model.onnx"].read_bytes()
    assert b"site-packages" not in graph and b".py" not in graph


def test_the_exporter_writes_nothing_into_the_log_of_a_run(tmp_path):
    """Its hundred lines would push what matters out of the end that the run's page shows."""
    script = (
        "import logging, sys\n"
        "logging.basicConfig(level=logging.INFO, stream=sys.stderr)\n"
        "from pathlib import Path\n"
        "from torch import nn\n"
        "from trainer.export import write_graph\n"
        "net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())\n"
        "write_graph(net, ['logits'], 8, Path(sys.argv[1]))\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "net.onnx")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert (tmp_path / "net.onnx").stat().st_size > 0
