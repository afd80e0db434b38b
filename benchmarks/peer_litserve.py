"""LitServe with the same photo path and the same engine as the site: the server alone makes the difference.

python -m benchmarks.peer_litserve FOLDER PORT     (in the environment of requirements-peers.txt)
"""

import os
import sys
from pathlib import Path
from typing import Any

import litserve
import numpy as np
from fastapi import Request

from classifier import artifact
from classifier.engines.onnx import OnnxEngine
from classifier.preprocess import preprocess


class Breeds(litserve.LitAPI):
    """One engine process on all cores, as LitServe's own examples have it."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def setup(self, device: str) -> None:
        self.spec = artifact.read(self.folder)
        self.engine = OnnxEngine(self.folder / "model.onnx", threads=os.cpu_count() or 1)

    def decode_request(self, request: Request, **_: object) -> np.ndarray:
        return preprocess(request["image"].file.read(), self.spec.preprocessing)

    def predict(self, x: np.ndarray, **_: object) -> np.ndarray:
        return self.engine(x[None])[0]

    def encode_response(self, output: np.ndarray, **_: object) -> dict[str, Any]:
        odds = np.exp(output - output.max())
        return {"prediction": int(output.argmax()), "results": [(odds / odds.sum()).tolist()]}


if __name__ == "__main__":
    server = litserve.LitServer(Breeds(Path(sys.argv[1])), accelerator="cpu")
    server.run(host="127.0.0.1", port=int(sys.argv[2]), generate_client_file=False, log_level="warning")
