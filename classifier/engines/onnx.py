"""ONNX Runtime on the CPU: (B, 3, H, W) float32 -> (B, K) float32."""

import os
import re
from pathlib import Path

import numpy as np

# From 1.29 on it tells its maker of every model it loads, unless this stands there before it is imported.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime

from classifier.spec import ArtifactError

PLACE = re.compile(r"""(?<![^\s"'])/[^\s"']*/""")  # the folders of an absolute path


class EngineError(ArtifactError):
    """A network file that the engine cannot load or run; the sentence is the runtime's own, without paths."""


class OnnxEngine:
    """One session of one file. Calls may come from several threads; each call uses `threads` threads.

    Spinning is off: threads that wait for work in a loop take the processor from decoding, and beside a training job
    they make one answer four times slower.
    """

    normalizes = False

    def __init__(self, file: Path, *, threads: int, output: str = "logits", batch: int | None = None) -> None:
        """`output` is the one that a call gives, `batch` the only B that the graph takes. Raises EngineError."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4  # fatal: every failure is raised with its text
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self.session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise EngineError(sentence(error)) from error
        self.outputs = tuple(output.name for output in self.session.get_outputs())
        inputs = self.session.get_inputs()
        if [(i.name, i.type, len(i.shape)) for i in inputs] != [("image", "tensor(float)", 4)]:
            raise EngineError("its one input must be 'image', float32 (B, 3, H, W)")
        if isinstance(inputs[0].shape[0], int) and inputs[0].shape[0] != batch:
            raise EngineError("its batch dimension is fixed, it must be dynamic")
        if output not in self.outputs:
            raise EngineError(f"it has no output {output!r}")
        self.output = output

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """images (B, 3, H, W) -> logits (B, K)"""
        return self.run(self.output, images)

    def features(self, images: np.ndarray) -> np.ndarray:
        """images (B, 3, H, W) -> the last feature map (B, C, h, w); EngineError where the network has none."""
        if "features" not in self.outputs:
            raise EngineError("this network gives no feature map")
        return self.run("features", images)

    def run(self, output: str, images: np.ndarray) -> np.ndarray:
        try:
            return self.session.run([output], {"image": images})[0]
        except Exception as error:
            raise EngineError(sentence(error)) from error


def sentence(error: Exception) -> str:
    """The first line of what the runtime says, without the folders where the file lies."""
    first = str(error).splitlines()[0] if str(error) else type(error).__name__
    return PLACE.sub("", first)[:300]
