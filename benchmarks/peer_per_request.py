"""The old way: a view that builds the network and reads its weights for every photo, on torch, behind waitress.

python -m benchmarks.peer_per_request FOLDER PORT
"""

import json
import sys
from collections.abc import Callable, Iterable
from email.parser import BytesParser
from pathlib import Path
from typing import Any

import torch
import waitress
from safetensors.torch import load_file

from classifier import artifact
from classifier.networks import catalogue
from classifier.preprocess import preprocess

FOLDER = Path(sys.argv[1]) if len(sys.argv) > 1 else Path()


def posted_image(environ: dict[str, Any]) -> bytes:
    """The one file of a multipart form."""
    head = f"Content-Type: {environ['CONTENT_TYPE']}\r\n\r\n".encode()
    message = BytesParser().parsebytes(head + environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
    return bytes(message.get_payload()[0].get_payload(decode=True))


def view(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    spec = artifact.read(FOLDER)
    net = catalogue.create(spec.architecture, label_count=len(spec.labels))
    net.load_state_dict(load_file(FOLDER / "weights.safetensors"))
    net.eval()
    picture = torch.from_numpy(preprocess(posted_image(environ), spec.preprocessing))[None]
    with torch.inference_mode():
        probabilities = net(picture)[0].softmax(0)
    body = json.dumps({"prediction": int(probabilities.argmax()), "results": [probabilities.tolist()]}).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


if __name__ == "__main__":
    waitress.serve(view, host="127.0.0.1", port=int(sys.argv[2]), threads=4)
