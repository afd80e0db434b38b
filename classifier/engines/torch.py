"""torch on a CUDA device: (B, 3, H, W) float32 -> (B, K) float32. Only batch workers' children load it.

The weights lie channels-last, and passes are made in bfloat16 where the golden pictures get nearly the answers of
float32. Where the device's memory does not suffice, a pass is halved until it does; where not even one picture fits,
the processor takes over.
"""

import logging
from pathlib import Path

import numpy as np
import safetensors.torch
import torch

from classifier.artifact import DeviceLost
from classifier.engines.onnx import EngineError
from classifier.networks import catalogue
from classifier.spec import Spec

log = logging.getLogger(__name__)

NEAR = 0.01  # of a probability: how far a golden answer in bfloat16 may lie from that in float32


class TorchEngine:
    """The network of one artifact on one device; calls come from one thread."""

    outputs: tuple[str, ...] = ("logits",)

    def __init__(self, folder: Path, spec: Spec, *, device: str) -> None:
        """The folder's weights were verified before. Raises EngineError where they do not fit their network."""
        self.device = torch.device(device)
        # A convolution in TF32 would be called float32 and err in the third digit.
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
        net = catalogue.create(spec.architecture, label_count=len(spec.labels))
        try:
            net.load_state_dict(safetensors.torch.load_file(folder / "weights.safetensors"))
        except RuntimeError as error:
            raise EngineError(f"its weights do not fit {spec.architecture['name']}") from error
        self.net = net.eval().to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.precision = torch.float32

    def hasten(self, images: np.ndarray, spec: Spec) -> None:
        """Go over to bfloat16 if these pictures (B, 3, H, W) get nearly the same probabilities, and the same labels."""
        exact = spec.calibration.probabilities(self(images))
        self.precision = torch.bfloat16
        quick = spec.calibration.probabilities(self(images))
        off = float(np.abs(quick - exact).max())
        if not off <= NEAR or (quick.argmax(axis=1) != exact.argmax(axis=1)).any():
            self.precision = torch.float32
            log.info("%s answers in float32: in bfloat16 a golden probability is off by %.3f.", spec.name, off)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """images (B, 3, H, W) -> logits (B, K). Raises DeviceLost, EngineError."""
        try:
            return self._forward(images)
        except torch.OutOfMemoryError:
            pass  # what the pass held is let go with the exception, before anything else is tried
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        if len(images) > 1:
            half = len(images) // 2
            log.warning("%d pictures at once do not fit into %s: they go in halves.", len(images), self.device)
            return np.concatenate([self(images[:half]), self(images[half:])])
        if self.device.type == "cpu":
            raise EngineError("not even one picture fits into the memory")
        log.warning("Not even one picture fits into %s: the processor answers from now on.", self.device)
        self.device, self.precision = torch.device("cpu"), torch.float32
        self.net = self.net.to(self.device)
        return self(images)

    def features(self, images: np.ndarray) -> np.ndarray:
        raise EngineError("this engine gives no feature map")

    def _forward(self, images: np.ndarray) -> np.ndarray:
        kind = self.device.type
        try:
            with torch.inference_mode(), torch.autocast(kind, torch.bfloat16, enabled=self.precision != torch.float32):
                batch = torch.from_numpy(images).to(self.device, memory_format=torch.channels_last)  # (B, 3, H, W)
                return np.asarray(self.net(batch).float().cpu().numpy())  # (B, K)
        except torch.AcceleratorError as error:
            raise DeviceLost(f"{self.device}: {str(error).splitlines()[0]}") from error
