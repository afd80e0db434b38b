"""What a card says was measured: read whole, refused where it contradicts itself, and quiet where it is old."""

from typing import Any

import numpy as np
import pytest

from classifier.fields import ArtifactError, Fields
from classifier.quality import Quality
from trainer.evaluate import quality

pytestmark = pytest.mark.alone

LABELS = ("a", "b", "c")


def measured() -> Quality:
    logits = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    return quality(logits, np.random.default_rng(1).integers(0, 3, 40), LABELS, split="test")


def read(document: dict[str, Any]) -> Quality:
    return Quality.from_fields(Fields(document, "quality"), LABELS)


def test_it_reads_back_as_it_was():
    assert read(measured().as_dict()) == measured()


def test_a_card_without_wrong_answers_and_bands_is_read_as_before():
    document = measured().as_dict()
    del document["bands"]
    for entry in document["per_label"]:
        del entry["answered"]
    found = read(document)
    assert found.confusion is None and found.bands is None
    assert found.as_dict() == document


def replaced(**answered: int) -> dict[str, Any]:
    document = measured().as_dict()
    document["per_label"][0]["answered"] = answered
    return document


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        (replaced(b=1), "answered must be as many photos as were not right"),
        (replaced(a=1), "answered must be about the other labels of this model"),
        (replaced(d=1), "answered must be about the other labels of this model"),
        (replaced(b=-1), "answered.b must be a whole number"),
        (
            measured().as_dict() | {"bands": [{"n": 1, "correct": 1, "confidence": 0.5}]},
            "bands must be about 40 answers",
        ),
        (measured().as_dict() | {"bands": [{"n": 40, "correct": 41, "confidence": 0.5}]}, "correct must be a whole"),
        (measured().as_dict() | {"bands": []}, "bands must be a list of 1 to 11"),
    ],
)
def test_what_contradicts_itself_is_refused(document: dict[str, Any], sentence: str):
    with pytest.raises(ArtifactError, match=sentence):
        read(document)
