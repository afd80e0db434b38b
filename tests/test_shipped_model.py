"""The model in `classifier/starter`, which a fresh installation answers with."""

from pathlib import Path

import pytest

from classifier import artifact
from classifier.engines.onnx import OnnxEngine

pytestmark = pytest.mark.alone

FOLDER = Path(artifact.__file__).with_name("starter")


@pytest.fixture(scope="module")
def spec():
    return artifact.verify(FOLDER)


def test_it_verifies_and_knows_120_breeds(spec):
    assert len(spec.labels) == 120
    assert spec.labels == tuple(sorted(spec.labels))
    assert {"border_collie", "pug", "dhole"} <= set(spec.labels)
    assert "dalmatian" not in spec.labels


def test_it_fits_into_20_megabytes_and_holds_nothing_else(spec):
    assert {file.name for file in FOLDER.iterdir()} == {"spec.json", "model.onnx", "weights.safetensors"}
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) <= 20_000_000


def test_its_card_says_how_good_it_is_and_what_it_is_not_for(spec):
    assert spec.quality.split == "test"
    assert spec.quality.n == sum(rate.n for rate in spec.quality.per_label.values()) == spec.origin["split"]["test"]
    assert spec.quality.top1.value >= 0.86
    assert "ImageNet" in spec.origin["backbone_has_seen_the_photos"]
    assert any("dalmatian" in line for line in spec.origin["not_for"])
    assert spec.origin["command"].startswith("python -m trainer.starter ")


def test_it_has_a_feature_map_for_heat_maps(spec):
    image = artifact.golden_input(1, spec.preprocessing)[None]
    assert OnnxEngine(FOLDER / "model.onnx", threads=1).features(image).shape == (1, 1280, 6, 6)
