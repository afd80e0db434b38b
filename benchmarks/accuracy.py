"""How often a model on disk is right, by the very path that answers people: decode, square, normalize, ONNX Runtime.

    python -m benchmarks.accuracy --data dogs120.zip --artifact classifier/starter

The test photos are those that the artifact's training kept sealed (the split depends on content and seed alone); their
figures must be the ones on its card. The validation photos are also changed as people's photos are: turned, shrunk,
encoded again. One JSON line a measurement.
"""

import argparse
import io
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from classifier import artifact
from classifier.engines.onnx import OnnxEngine
from classifier.preprocess import decode
from trainer import dataset
from trainer.calibrate import expected_calibration_error
from trainer.evaluate import log_softmax, logits_of, loss_of, top
from trainer.ingest import source
from trainer.ingest.record import Record

Change = Callable[[Image.Image], Image.Image]


def widened(picture: Image.Image) -> Image.Image:
    """In a frame half as wide again, of its own blurred edges: as a phone's 3:2 photo of the same scene."""
    width, height = picture.size
    wide = picture.resize((8, 8), Image.Resampling.BOX).resize((width * 3 // 2, height), Image.Resampling.BICUBIC)
    wide.paste(picture, (width // 4, 0))
    return wide


CHANGES: dict[str, tuple[Change, int]] = {  # what is done, quality of the JPEG
    "as it is, encoded at quality 95": (lambda picture: picture, 95),
    "turned by 10 degrees": (
        lambda picture: picture.rotate(10, Image.Resampling.BICUBIC, fillcolor=(127, 127, 127)),
        95,
    ),
    "mirrored": (lambda picture: picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT), 95),
    "shrunk to 112 pixels": (lambda picture: picture.resize((112, 112), Image.Resampling.BICUBIC), 95),
    "enlarged to 600 pixels": (lambda picture: picture.resize((600, 600), Image.Resampling.BICUBIC), 95),
    "in a wider frame, 3:2": (widened, 95),
    "encoded at quality 60": (lambda picture: picture, 60),
    "encoded at quality 20": (lambda picture: picture, 20),
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="zip or folder of class folders")
    parser.add_argument("--artifact", type=Path, required=True, help="the model's folder")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    for line in measurements(arguments.data, arguments.artifact, threads=arguments.threads):
        print(json.dumps(line), flush=True)


def measurements(data: Path, folder: Path, *, threads: int) -> Iterator[dict[str, object]]:
    """One line for the test photos, one for the validation photos, one for each change of them."""
    spec = artifact.verify(folder)
    engine = OnnxEngine(folder / "model.onnx", threads=threads)
    parts = dataset.prepare(source.records(data), seed=spec.origin["seed"])

    def measure(name: str, records: list[Record]) -> dict[str, object]:
        started = time.monotonic()
        logits = logits_of(engine, records, spec.preprocessing, batch_size=1) / spec.calibration.temperature
        answers = np.array(parts.answers(records))
        confidence = np.exp(log_softmax(logits)).max(axis=1)
        right = logits.argmax(axis=1) == answers
        return {
            "photos": name,
            "n": len(records),
            "top1": top(logits, answers, 1).as_dict(),
            "top5": top(logits, answers, 5).as_dict(),
            "loss": loss_of(logits, answers),
            "calibration_error": expected_calibration_error(confidence, right),
            "unsure": float((confidence < spec.calibration.unsure_below).mean()),
            "seconds": round(time.monotonic() - started, 1),
        }

    test = measure("test", parts.test)
    assert spec.quality is not None
    yield test | {
        "same_photos_as_on_the_card": parts.fingerprint == spec.origin["dataset_fingerprint"],
        "same_top1_as_on_the_card": test["top1"] == spec.quality.top1.as_dict(),
    }
    yield measure("validation", parts.validation)
    for name, (change, quality) in CHANGES.items():
        changed = [replace(one, read=partial(encode_changed, one, change, quality)) for one in parts.validation]
        yield measure(f"validation, {name}", changed)


def encode_changed(record: Record, change: Change, quality: int) -> bytes:
    """The changed picture as the bytes of a JPEG."""
    out = io.BytesIO()
    change(decode(record.read())).save(out, "JPEG", quality=quality)
    return out.getvalue()


if __name__ == "__main__":
    main()
