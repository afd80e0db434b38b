"""A network taken apart where its head begins: the backbone, which stands still, and the head, which learns.

The backbone runs in ONNX Runtime, one picture at a time on one thread: what comes out depends on the picture alone, to
the bit, whatever else is computed beside it.
"""

import copy
import hashlib
import logging
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from classifier.artifact import GOLDEN_TOLERANCE
from classifier.engines.onnx import EngineError, OnnxEngine
from classifier.networks import parts
from trainer.export import ExportError, write_graph

log = logging.getLogger(__name__)

Look = Callable[[np.ndarray], np.ndarray]  # a picture (1, 3, S, S), normalized -> its features (1, D)
OUTPUT = "features"


class HeadAlone(nn.Module):
    """The head of a network as a network of its own: features (B, D) -> logits (B, K)."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head

    def forward(self, features: Tensor) -> Tensor:
        logits: Tensor = self.head(features)
        return logits


@dataclass(frozen=True)
class Apart:
    """A network in two: logits = head(backbone(image))."""

    backbone: nn.Module  # (B, 3, S, S) -> (B, D), in evaluation mode
    head: HeadAlone  # with the very tensors of the network
    head_name: str  # in the network
    width: int  # D


def take_apart(net: nn.Module, side: int) -> Apart | None:
    """None for a network that does more with its head than put it at the end, such as a convolution that is averaged
    over the picture afterwards; tried on pictures of `side` pixels."""
    name = parts.head(net)
    head = net.get_submodule(name)
    if not isinstance(head, nn.Linear | parts.DenseHead):
        return None
    backbone = copy.deepcopy(net).requires_grad_(False).eval()
    backbone.set_submodule(name, nn.Identity())
    images = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    net.eval()
    with torch.inference_mode():
        wanted, features = net(images), backbone(images)
        if features.ndim != 2 or features.shape[1] != width(head):
            return None
        close = torch.allclose(head(features), wanted, rtol=1e-3, atol=1e-3 * max(1.0, float(wanted.abs().max())))
    return Apart(backbone, HeadAlone(head), name, width(head)) if close else None


def width(head: nn.Linear | parts.DenseHead) -> int:
    """How many features a head takes."""
    first = head if isinstance(head, nn.Linear) else head[0]
    assert isinstance(first, nn.Linear)
    return first.in_features


def digest(backbone: nn.Module) -> str:
    """SHA-256 of its tensors with their names."""
    sha256 = hashlib.sha256()
    for name, tensor in sorted(backbone.state_dict().items()):
        sha256.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        sha256.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return sha256.hexdigest()


def look(backbone: nn.Module, side: int, *, within: Path) -> Look:
    """The backbone as a function that several threads may call at once, for pictures of `side` pixels; on its way it
    is a file in the folder `within`."""
    try:
        return in_onnx(backbone, side, within=within)
    except (RuntimeError, EngineError, torch.onnx.OnnxExporterError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        log.warning("ONNX Runtime cannot run this backbone, so torch does, which is slower: %s", first)
        return in_torch(backbone)


def in_onnx(backbone: nn.Module, side: int, *, within: Path) -> Look:
    """Raises ExportError where ONNX Runtime and torch do not agree, or what an export may end with."""
    with tempfile.TemporaryDirectory(prefix="backbone-", dir=within) as folder:
        file = Path(folder) / "backbone.onnx"
        write_graph(backbone, [OUTPUT], side, file, batch=1)
        engine = OnnxEngine(file, threads=1, output=OUTPUT, batch=1)
    picture = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(1)).numpy()
    wanted = in_torch(backbone)(picture)
    off, allowed = np.abs(engine(picture) - wanted).max(), GOLDEN_TOLERANCE * max(1.0, np.abs(wanted).max())
    if not off <= allowed:
        raise ExportError(f"A feature of the exported backbone is off by {off:.2g}, allowed is {allowed:.2g}.")
    return engine


def in_torch(backbone: nn.Module) -> Look:
    def run(picture: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            features: np.ndarray = backbone(torch.from_numpy(picture)).float().numpy()
            return features

    return run
