"""A trained network -> the two files of an artifact and the answers it must give wherever it is read.

The graph has the input "image" (B, 3, H, W) and the outputs "logits" (B, K) and, where the network has one, "features"
(B, C, h, w), the last feature map. ONNX Runtime is compared with torch before anything is written.
"""

import logging
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import safetensors.torch
import torch
from torch import Tensor, nn

from classifier.artifact import GOLDEN_TOLERANCE, golden_input
from classifier.engines.onnx import OnnxEngine
from classifier.networks import catalogue
from classifier.preprocess import Preprocessing
from classifier.spec import Golden

GOLDEN_SEEDS = (1, 2, 3)

for exporter in ("onnx_ir", "onnxscript"):  # they tell of every pass over the graph, and a run shows the end of its log
    logging.getLogger(exporter).setLevel(logging.WARNING)


class ExportError(RuntimeError):
    """The exported graph does not answer as the network does."""


class WithFeatures(nn.Module):
    """A network that gives its last feature map beside its logits."""

    def __init__(self, net: nn.Module, layer: str | None) -> None:
        super().__init__()
        self.net = net
        self.layer = layer

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """(B, 3, H, W) -> logits (B, K), then the feature map (B, C, h, w) where there is one."""
        if self.layer is None:
            return (self.net(image),)
        features: list[Tensor] = []
        part = self.net.get_submodule(self.layer)
        hook = part.register_forward_hook(lambda _part, _inputs, output: features.append(output))
        try:
            return self.net(image), features[-1]
        finally:
            hook.remove()


@contextmanager
def exported(
    net: nn.Module, architecture: str, preprocessing: Preprocessing, *, within: Path | None = None
) -> Iterator[dict[str, Path]]:
    """The files of an artifact in a temporary folder, which lies in the folder `within`, else where the system keeps
    such: {"model.onnx": ..., "weights.safetensors": ...}.

    Raises ExportError when ONNX Runtime's logits differ from torch's, and OSError when the disk is full.
    """
    net = net.eval().to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    with tempfile.TemporaryDirectory(prefix="breedsite-export-", dir=within) as folder:
        files = {name: Path(folder) / name for name in ("model.onnx", "weights.safetensors")}
        write_onnx(net, catalogue.family(architecture).feature_layer(net), preprocessing.crop, files["model.onnx"])
        # Not `save_file`, which hides a full disk in an error of its own.
        files["weights.safetensors"].write_bytes(safetensors.torch.save(net.state_dict()))
        compare(files["model.onnx"], golden(net, preprocessing), preprocessing)
        yield files


def write_onnx(net: nn.Module, feature_layer: str | None, side: int, file: Path) -> None:
    """The graph of a whole network."""
    names = ["logits", "features"] if feature_layer else ["logits"]
    write_graph(WithFeatures(net, feature_layer), names, side, file)


def write_graph(module: nn.Module, outputs: list[str], side: int, file: Path, *, batch: int | None = None) -> None:
    """One file, weights inside: "image" (B, 3, side, side) -> these outputs; any B, or this one, in half the time."""
    any_batch = ({0: torch.export.Dim("batch", min=1, max=4096)},)
    options: dict[str, Any] = {"dynamo": True, "external_data": False, "optimize": True, "verbose": False}
    with torch.no_grad(), warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", "`isinstance.treespec, LeafSpec.` is deprecated", FutureWarning
        )  # torch's own
        torch.onnx.export(
            module.eval(),
            (torch.zeros(batch or 2, 3, side, side),),
            file,
            input_names=["image"],
            output_names=outputs,
            dynamic_shapes=None if batch else any_batch,
            **options,
        )
    forget_origin(file)


def forget_origin(file: Path) -> None:
    """Take the exporter's notes out of the graph: each node has the stack that made it, with this machine's paths."""
    model = onnx.load(file)
    for node in model.graph.node:
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
    onnx.save(model, file)


def golden(net: nn.Module, preprocessing: Preprocessing) -> tuple[Golden, ...]:
    """What torch answers to the golden pictures."""
    images = np.stack([golden_input(seed, preprocessing) for seed in GOLDEN_SEEDS])
    with torch.inference_mode():
        logits = net.eval()(torch.from_numpy(images)).double().tolist()
    return tuple(Golden(seed, tuple(row)) for seed, row in zip(GOLDEN_SEEDS, logits, strict=True))


def compare(file: Path, expected: tuple[Golden, ...], preprocessing: Preprocessing) -> None:
    """Raise ExportError unless ONNX Runtime answers to the golden pictures as torch did."""
    images = np.stack([golden_input(one.seed, preprocessing) for one in expected])
    wanted = np.array([one.logits for one in expected])
    off = float(np.abs(OnnxEngine(file, threads=1)(images) - wanted).max())
    allowed = GOLDEN_TOLERANCE * max(1.0, float(np.abs(wanted).max()))
    if not off <= allowed:
        raise ExportError(f"A logit of the exported graph is off by {off:.2g}, allowed is {allowed:.2g}.")
