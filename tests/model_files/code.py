"""Code in disguise: pickles and their like under the names of model files."""

import io
import pickle
import zlib
from pathlib import Path

import numpy as np

from tests.model_files.damage import GRAPH, SPEC, WEIGHTS, Payload, archive, case, marker, put


@case("header would have")
def pickle_as_weights(folder: Path) -> None:
    put(folder, WEIGHTS, pickle.dumps(Payload(marker(folder))))


@case("model.onnx cannot be used")
def pickle_as_graph(folder: Path) -> None:
    put(folder, GRAPH, pickle.dumps(Payload(marker(folder))))


@case("spec.json cannot be read")
def pickle_as_spec(folder: Path) -> None:
    (folder / SPEC).write_bytes(pickle.dumps(Payload(marker(folder))))


@case("header would have")
def torch_zip_as_weights(folder: Path) -> None:
    pickled = pickle.dumps(Payload(marker(folder)))
    put(folder, WEIGHTS, archive({"archive/data.pkl": pickled, "archive/version": b"3\n"}))


@case("model.onnx cannot be used")
def torchscript_as_graph(folder: Path) -> None:
    code = b"import os\ndef forward(self, x):\n  return os.system('touch code-ran')\n"
    put(folder, GRAPH, archive({"net/code/net.py": code, "net/constants.pkl": pickle.dumps(Payload(marker(folder)))}))


@case("header would have")
def joblib_as_weights(folder: Path) -> None:
    put(folder, WEIGHTS, zlib.compress(pickle.dumps(Payload(marker(folder)))))


@case("header would have")
def numpy_objects_as_weights(folder: Path) -> None:
    out = io.BytesIO()
    np.save(out, np.array([Payload(marker(folder))]), allow_pickle=True)
    put(folder, WEIGHTS, out.getvalue())
