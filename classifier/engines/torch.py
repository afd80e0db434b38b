"""torch on a CUDA device: (B, 3, H, W) float32 -> (B, K) float32. Batch workers' children load it, and the one process
that answers the web processes (`classifier.engines.resident`).

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
from classifier.preprocess import affine
from classifier.spec import Spec

log = logging.getLogger(__name__)

NEAR = 0.01  # of a probability: how far a golden answer in bfloat16 may lie from that in float32


def exists(device: str) -> bool:
    """Whether torch can use a device of this name."""
    wanted = torch.device(device)
    return wanted.type == "cpu" or (wanted.index or 0) < torch.cuda.device_count()


class TorchEngine:
    """The network of one artifact on one device; calls come from one thread."""

    outputs: tuple[str, ...] = ("logits",)
    normalizes = True

    def __init__(self, folder: Path, spec: Spec, *, device: str) -> None:
        """The folder's weights were verified before. A network that does not fit into the device's memory is on the
        processor afterwards. Raises EngineError where the weights do not fit their network, DeviceLost.
        """
        self.device = torch.device(device)
        # A convolution in TF32 would be called float32 and err in the third digit.
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
        net = catalogue.create(spec.architecture, label_count=len(spec.labels))
        try:
            net.load_state_dict(safetensors.torch.load_file(folder / "weights.safetensors"))
        except RuntimeError as error:
            raise EngineError(f"its weights do not fit {spec.architecture['name']}") from error
        self.net = net.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.precision = torch.float32
        scale, shift = (value.reshape(1, 3, 1, 1) for value in affine(spec.preprocessing))
        self.scale, self.shift = torch.from_numpy(scale), torch.from_numpy(shift)
        try:
            self._move()
        except torch.OutOfMemoryError:
            log.warning("%s does not fit into %s: the processor answers.", spec.name, self.device)
            self.device = torch.device("cpu")
            self._move()
        except torch.AcceleratorError as error:
            raise self._lost(error) from error

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
        """images (B, 3, H, W) -> logits (B, K). Raises DeviceLost, EngineError.

        Or the pictures as they are, uint8 (B, H, W, 3), a quarter of the bytes: then the device makes images of them.
        """
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
        self._move()
        return self(images)

    def features(self, images: np.ndarray) -> np.ndarray:
        raise EngineError("this engine gives no feature map")

    def _forward(self, images: np.ndarray) -> np.ndarray:
        kind = self.device.type
        try:
            with torch.inference_mode(), torch.autocast(kind, torch.bfloat16, enabled=self.precision != torch.float32):
                return np.asarray(self.net(self._there(images)).float().cpu().numpy())  # (B, K)
        except torch.AcceleratorError as error:
            raise self._lost(error) from error

    def _there(self, images: np.ndarray) -> torch.Tensor:
        """On the device, float32 (B, 3, H, W), channels last: as the pixels of a picture lie already."""
        batch = torch.from_numpy(images)
        if images.dtype == np.uint8:
            return batch.to(self.device).permute(0, 3, 1, 2).float().mul_(self.scale).add_(self.shift)
        return batch.to(self.device, memory_format=torch.channels_last)

    def _move(self) -> None:
        self.net = self.net.to(self.device)
        self.scale, self.shift = self.scale.to(self.device), self.shift.to(self.device)

    def _lost(self, error: Exception) -> DeviceLost:
        return DeviceLost(f"{self.device}: {str(error).splitlines()[0]}")
