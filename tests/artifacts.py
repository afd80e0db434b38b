"""Models on disk for the tests: a real ONNX graph of one convolution and one linear layer, made in milliseconds."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save_file

from classifier import artifact
from classifier.engines.onnx import OnnxEngine
from classifier.preprocess import Preprocessing
from classifier.quality import Quality, Rate
from classifier.spec import Calibration, Golden, Spec

LABELS = ("beagle", "border_collie", "chow", "papillon", "pug")
CHANNELS = 8
SEEDS = (1, 2, 3)


def make_weights(labels: int, seed: int) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(seed)
    return {
        "conv.weight": draw.normal(0, 0.4, (CHANNELS, 3, 3, 3)).astype(np.float32),
        "conv.bias": draw.normal(0, 0.1, CHANNELS).astype(np.float32),
        "head.weight": draw.normal(0, 2, (labels, CHANNELS)).astype(np.float32),
        "head.bias": draw.normal(0, 0.1, labels).astype(np.float32),
    }


def make_graph(weights: dict[str, np.ndarray], size: int, *, features: bool = True) -> onnx.ModelProto:
    """image (B, 3, size, size) -> conv, relu = features -> mean over the picture -> linear = logits (B, K)"""
    labels = len(weights["head.bias"])
    half = (size + 1) // 2
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["B", labels])]
    if features:
        outputs.append(helper.make_tensor_value_info("features", TensorProto.FLOAT, ["B", CHANNELS, half, half]))
    graph = helper.make_graph(
        [
            helper.make_node(
                "Conv", ["image", "conv.weight", "conv.bias"], ["conv"], strides=[2, 2], pads=[1, 1, 1, 1]
            ),
            helper.make_node("Relu", ["conv"], ["features"]),
            helper.make_node("GlobalAveragePool", ["features"], ["pooled"]),
            helper.make_node("Flatten", ["pooled"], ["vector"]),
            helper.make_node("Gemm", ["vector", "head.weight", "head.bias"], ["logits"], transB=1),
        ],
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["B", 3, size, size])],
        outputs,
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def make_quality(labels: Sequence[str]) -> Quality:
    """Ten photos a label; the first label right in all, the last in fewest."""
    per_label = {
        label: Rate(n=10, correct=max(10 - 2 * number, 0), low=0.0, high=1.0) for number, label in enumerate(labels)
    }
    n, correct = 10 * len(labels), sum(rate.correct for rate in per_label.values())
    return Quality("test", n, Rate(n, correct, 0.0, 1.0), Rate(n, n, 0.9, 1.0), 1.25, per_label)


def make_spec(labels: Sequence[str] = LABELS, **changes: Any) -> Spec:
    """A whole spec without golden logits and files; any field can be given."""
    spec = Spec(
        name="tiny",
        architecture={"name": "mobilenet_v2", "head": {"kind": "linear"}},  # the name of one, the network is smaller
        labels=tuple(labels),
        preprocessing=Preprocessing(resize=36, crop=32, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25)),
        calibration=Calibration(
            temperature=1.5, unsure_below=0.3, split="validation", n=50, ece_before=0.12, ece_after=0.03
        ),
        quality=make_quality(labels),
        golden=(),
        origin={
            "data": "random weights, made by the tests",
            "backbone": None,
            "backbone_has_seen_the_photos": None,
            "license": "none",
            "intended_use": "tests",
            "not_for": ["anything else"],
            "created": "2026-01-02T03:04:05+00:00",
            "seed": 0,
        },
    )
    return replace(spec, **changes)


def make_artifact(folder: Path, *, seed: int = 0, features: bool = True, **changes: Any) -> Path:
    """A verified model in the new folder `folder`; `changes` are fields of the spec: labels=..., quality=None.

    Another seed gives other weights. The golden logits are what this very graph answers.
    """
    spec = make_spec(**changes)
    parts = folder.with_name(f"{folder.name}-parts")
    parts.mkdir(parents=True)
    weights = make_weights(len(spec.labels), seed)
    files = {"model.onnx": parts / "model.onnx", "weights.safetensors": parts / "weights.safetensors"}
    onnx.save(make_graph(weights, spec.preprocessing.crop, features=features), files["model.onnx"])
    save_file(weights, files["weights.safetensors"])
    engine = OnnxEngine(files["model.onnx"], threads=1)
    images = [artifact.golden_input(number, spec.preprocessing) for number in SEEDS]
    logits = [engine(image[None])[0] for image in images]
    golden = tuple(Golden(number, tuple(map(float, row))) for number, row in zip(SEEDS, logits, strict=True))
    artifact.write(folder, replace(spec, golden=golden), files)
    return folder
