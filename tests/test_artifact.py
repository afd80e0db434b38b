"""A model on disk: written whole or not at all, and never believed."""

import errno
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings, strategies

from classifier import architectures, artifact, tensors
from classifier.artifact import ArtifactError
from classifier.preprocess import Preprocessing
from classifier.spec import Spec
from tests.artifacts import make_artifact, make_spec
from tests.model_files import HOSTILE, SENTENCES, marker

pytestmark = pytest.mark.alone


@pytest.fixture
def model(artifact_folder: Path, tmp_path: Path) -> Path:
    """A sound model that may be damaged."""
    return shutil.copytree(artifact_folder, tmp_path / "model")


def test_a_written_model_reads_back_as_it_was(artifact_folder):
    spec = artifact.read(artifact_folder)
    assert Spec.from_dict(spec.as_dict()) == spec
    assert Spec.from_dict(json.loads(json.dumps(spec.as_dict()))) == spec
    assert artifact.verify(artifact_folder) == spec
    assert spec.labels == ("beagle", "border_collie", "chow", "papillon", "pug")
    assert spec.quality is not None and spec.quality.top1.value == pytest.approx(30 / 50)


def test_a_copy_has_the_same_digest_and_nothing_but_the_three_files(model, tmp_path):
    (model / "notes.txt").write_text("not part of a model")
    artifact.copy(model, tmp_path / "copy")
    assert artifact.digest(tmp_path / "copy") == artifact.digest(model)
    assert sorted(file.name for file in (tmp_path / "copy").iterdir()) == [
        "model.onnx",
        "spec.json",
        "weights.safetensors",
    ]


def test_the_same_model_written_twice_has_the_same_digest(tmp_path):
    assert artifact.digest(make_artifact(tmp_path / "a")) == artifact.digest(make_artifact(tmp_path / "b"))
    assert artifact.digest(make_artifact(tmp_path / "c", seed=1)) != artifact.digest(tmp_path / "a")


def test_a_model_is_never_overwritten(model, artifact_folder):
    before = artifact.digest(model)
    with pytest.raises(ArtifactError, match="never overwritten"):
        artifact.copy(artifact_folder, model)
    assert artifact.digest(model) == before


def test_write_refuses_other_files(tmp_path):
    with pytest.raises(ArtifactError, match="a model has the files"):
        artifact.write(tmp_path / "new", make_spec(), {"model.pkl": tmp_path / "model.pkl"})
    assert list(tmp_path.iterdir()) == []


def test_write_compares_the_graph_with_the_golden_logits(model, tmp_path):
    spec = artifact.read(model)
    wrong = replace(spec.golden[0], logits=tuple(value + 1 for value in spec.golden[0].logits))
    files = {name: model / name for name in spec.files}
    with pytest.raises(ArtifactError, match="a golden logit is off by 1"):
        artifact.write(tmp_path / "new", replace(spec, golden=(wrong,)), files)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("name", HOSTILE)
def test_it_refuses_a_hostile_model_and_says_why(model, tmp_path, name):
    HOSTILE[name](model)
    with pytest.raises(ArtifactError, match=SENTENCES[name]) as refusal:
        artifact.verify(model)
    assert str(tmp_path) not in str(refusal.value)
    with pytest.raises(ArtifactError):
        artifact.copy(model, tmp_path / "installed" / "model")
    assert not (tmp_path / "installed").exists() or list((tmp_path / "installed").iterdir()) == []
    assert not marker(model).exists()


@pytest.mark.parametrize("name", ["spec.json", "model.onnx", "weights.safetensors"])
def test_a_file_that_may_not_be_read_is_named(model, monkeypatch, name):
    opened = Path.open

    def forbidden(self, *args, **kwargs):
        if self.name == name:
            raise PermissionError(errno.EACCES, "Permission denied")
        return opened(self, *args, **kwargs)

    monkeypatch.setattr(Path, "open", forbidden)
    with pytest.raises(ArtifactError, match=f"{name} cannot be read from model: Permission denied"):
        artifact.verify(model)


@pytest.mark.parametrize("fault", ["copy", "fsync", "rename"])
def test_a_full_disk_leaves_nothing_behind(artifact_folder, tmp_path, monkeypatch, fault):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(
        *{"copy": (shutil, "copyfileobj"), "fsync": (os, "fsync"), "rename": (Path, "rename")}[fault], full
    )
    with pytest.raises(OSError, match="No space left"):
        artifact.copy(artifact_folder, tmp_path / "versions" / "new")
    monkeypatch.undo()
    assert list((tmp_path / "versions").iterdir()) == []


def test_what_a_killed_process_leaves_is_not_taken_for_a_model(artifact_folder, tmp_path):
    class Killed(BaseException):
        """As if nothing could be cleaned up."""

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shutil, "rmtree", lambda *args, **kwargs: None)
        patch.setattr(artifact, "verify", lambda folder: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            artifact.copy(artifact_folder, tmp_path / "new")
    (left,) = tmp_path.iterdir()
    assert left.name.startswith("new.tmp-")
    artifact.copy(artifact_folder, tmp_path / "new")
    assert artifact.verify(tmp_path / "new")


def test_the_golden_picture_is_the_same_everywhere():
    plain = Preprocessing(resize=16, crop=16, mean=(0.0, 0.0, 0.0), std=(1 / 255, 1 / 255, 1 / 255))
    image = artifact.golden_input(1, plain)
    assert image.shape == (3, 16, 16) and image.dtype == np.float32
    assert np.rint(image[0, :2, :6]).astype(int).tolist() == [[85, 53, 86, 139, 128, 96], [86, 54, 87, 140, 129, 97]]
    assert np.abs(np.diff(artifact.golden_input(7, replace(plain, resize=224, crop=224)))).max() <= 8  # smooth


def test_golden_pictures_of_different_seeds_differ(artifact_folder):
    preprocessing = artifact.read(artifact_folder).preprocessing
    pictures = [artifact.golden_input(seed, preprocessing) for seed in range(20)]
    for number, one in enumerate(pictures):
        assert all(np.abs(one - other).mean() > 0.1 for other in pictures[:number])


@settings(max_examples=200, deadline=None)
@given(strategies.data())
def test_no_change_of_one_field_gives_anything_but_a_spec_or_a_sentence(data):
    """A random field of a good spec becomes a random JSON value."""
    document = SPEC_DOCUMENT()
    parent, key = document, data.draw(strategies.sampled_from(sorted(document)))
    while isinstance(parent[key], dict) and parent[key] and data.draw(strategies.booleans()):
        parent, key = parent[key], data.draw(strategies.sampled_from(sorted(parent[key])))
    parent[key] = data.draw(JSON)
    try:
        Spec.from_dict(document)
    except ArtifactError as error:
        assert "spec.json" in str(error)


JSON = strategies.recursive(
    strategies.none() | strategies.booleans() | strategies.integers() | strategies.floats() | strategies.text(),
    lambda inner: strategies.lists(inner, max_size=6) | strategies.dictionaries(strategies.text(), inner, max_size=6),
    max_leaves=12,
)


def SPEC_DOCUMENT() -> dict:
    return json.loads(json.dumps(make_spec().as_dict() | {"golden": [{"seed": 1, "logits": [0.0] * 5}]}))


# --- safetensors --------------------------------------------------------------------------------------------------
def test_the_header_is_read_as_the_library_reads_it(tmp_path):
    draw = np.random.default_rng(0)
    kinds = {"F64": "f8", "F32": "f4", "F16": "f2", "I64": "i8", "I32": "i4", "I16": "i2", "I8": "i1", "U8": "u1"}
    values = {name: draw.normal(0, 9, (3, len(name), 2)).astype(kind) for name, kind in kinds.items()}
    values |= {"scalar": np.array(1.5, np.float32), "empty": np.zeros((0, 4), np.float32), "BOOL": np.array([True])}
    safetensors.numpy.save_file(values, tmp_path / "w", metadata={"format": "np"})
    found = tensors.read_header(tmp_path / "w")
    assert {name: (tensor.shape, tensor.dtype) for name, tensor in found.items()} == {
        name: (value.shape, name if name.isupper() else "F32") for name, value in values.items()
    }
    data = (tmp_path / "w").read_bytes()
    for name, tensor in found.items():
        assert data[tensor.start : tensor.stop] == values[name].tobytes()
    assert tensors.first_not_finite(tmp_path / "w", found) is None


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["F64", "F32", "F16", "BF16"])
def test_a_value_that_is_not_finite_is_found_in_every_float(tmp_path, dtype, bad):
    values = np.zeros(9, np.float32)
    values[8] = bad
    bits = values.view(np.uint32) >> 16  # bfloat16 is the upper half of float32
    kinds = {"F64": values.astype("f8"), "F32": values, "F16": values.astype("f2"), "BF16": bits.astype("<u2")}
    data = kinds[dtype].tobytes()
    header = json.dumps({"a": {"dtype": dtype, "shape": [9], "data_offsets": [0, len(data)]}}).encode()
    (tmp_path / "w").write_bytes(len(header).to_bytes(8, "little") + header + data)
    assert tensors.first_not_finite(tmp_path / "w", tensors.read_header(tmp_path / "w")) == "a"


@settings(max_examples=300, deadline=None)
@given(position=strategies.integers(0, 500), value=strategies.integers(0, 255))
def test_a_changed_byte_of_the_header_is_a_sentence_or_a_sound_header(artifact_folder, position, value):
    file = artifact_folder / "weights.safetensors"
    data = bytearray(file.read_bytes())
    data[position] = value
    changed = artifact_folder.parent / "changed.safetensors"
    changed.write_bytes(data)
    try:
        found = tensors.read_header(changed)
    except ValueError:
        return
    assert sum(tensor.stop - tensor.start for tensor in found.values()) < len(data)


def test_the_list_of_architectures_is_the_one_of_the_networks():
    from classifier.networks import catalogue  # imports torch

    assert set(catalogue.names()) == architectures.KNOWN, f"write names.txt anew: {architectures.__doc__}"
