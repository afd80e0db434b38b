"""CIFAR and MNIST from their own files: what is published is read, what only looks like it runs nothing."""

import gzip
import hashlib
import io
import os
import pickle
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from classifier.sources.listing import SourceError
from trainer.ingest import cifar, source
from trainer.models import Dataset

pytestmark = pytest.mark.alone

NAMES = ["cat", "dog"]


def batch(seed: int, count: int = 6) -> dict[str, object]:
    pixels = np.random.default_rng(seed).integers(0, 256, (count, 3072), np.uint8)
    return {"data": pixels, "labels": [index % 2 for index in range(count)], "filenames": ["x.png"] * count}


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A set of two files that we publish ourselves, with their MD5; `published(name=...)` replaces a file."""

    def publish(protocol: int = 2, **changed: bytes) -> Path:
        place = tmp_path / cifar.CIFAR10.folder
        place.mkdir(exist_ok=True)
        contents = {
            "data_batch_1": pickle.dumps(batch(1), protocol),
            "test_batch": pickle.dumps(batch(2), protocol),
            "batches.meta": pickle.dumps({"label_names": NAMES}, protocol),
        } | changed
        md5 = {}
        for name, data in contents.items():
            (place / name).write_bytes(data)
            md5[name] = hashlib.md5(data).hexdigest()
        small = replace(
            cifar.CIFAR10,
            train={"data_batch_1": md5["data_batch_1"]},
            test={"test_batch": md5["test_batch"]},
            names=("batches.meta", md5["batches.meta"], "label_names"),
        )
        monkeypatch.setattr(cifar, "SETS", (small,))
        return tmp_path

    return publish


@pytest.mark.parametrize("protocol", [2, 4])
def test_the_published_files_give_their_pictures_and_parts(published, protocol):
    layout = source.layout(published(protocol))
    assert [(record.label, record.part) for record in layout.records][:3] == [
        ("cat", "train"), ("dog", "train"), ("cat", "train")
    ]  # fmt: skip
    assert sum(record.part == "test" for record in layout.records) == 6
    expected = batch(2)["data"][3].reshape(3, 32, 32).transpose(1, 2, 0)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(layout.records[9].read()))), expected)
    assert "MD5" in layout.sentence


def test_a_file_that_is_not_the_published_one_is_never_read(published):
    folder = published()
    file = folder / cifar.CIFAR10.folder / "data_batch_1"
    file.write_bytes(file.read_bytes() + b"x")
    with pytest.raises(SourceError, match="data_batch_1 is not the published file: its MD5 is another"):
        source.layout(folder)


class Evil:
    """A pickle that runs a command where it is loaded carelessly."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


def test_a_pickle_that_asks_for_anything_else_runs_nothing(published, tmp_path):
    """Even with the right MD5."""
    folder = published(data_batch_1=pickle.dumps({"data": Evil(tmp_path / "marker"), "labels": [0]}))
    with pytest.raises(SourceError, match=r"it asks for posix\.system"):
        source.layout(folder)
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a pickle",
        pickle.dumps([1]),
        pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": [0, 7]}),
        pickle.dumps({"data": np.zeros((2, 100), np.uint8), "labels": [0, 1]}),
        pickle.dumps({"data": np.array([object()]), "labels": [0]}),
    ],
)
def test_a_damaged_file_is_refused_in_words(published, content):
    with pytest.raises(SourceError, match="data_batch_1 cannot be read"):
        source.layout(published(data_batch_1=content))


def test_the_checksums_are_those_that_torchvision_has():
    from classifier.networks import torchvision_ops

    torchvision_ops.declare()
    from torchvision import datasets

    for ours, theirs in ((cifar.CIFAR10, datasets.CIFAR10), (cifar.CIFAR100, datasets.CIFAR100)):
        assert list(ours.train.items()) == [tuple(pair) for pair in theirs.train_list]
        assert list(ours.test.items()) == [tuple(pair) for pair in theirs.test_list]
        assert ours.names == (theirs.meta["filename"], theirs.meta["md5"], theirs.meta["key"])
        assert ours.folder == theirs.base_folder


def write_idx(folder: Path, begin: str, count: int, packed: bool = False) -> None:
    images = np.random.default_rng(count).integers(0, 256, (count, 28, 28), np.uint8)
    for name, dimensions, data in (("images-idx3", (count, 28, 28), images), ("labels-idx1", (count,), None)):
        body = data.tobytes() if data is not None else bytes(index % 3 for index in range(count))
        whole = bytes([0, 0, 8, len(dimensions)]) + struct.pack(f">{len(dimensions)}I", *dimensions) + body
        file = folder / f"{begin}-{name}-ubyte"
        if packed:
            file.with_name(file.name + ".gz").write_bytes(gzip.compress(whole))
        else:
            file.write_bytes(whole)


@pytest.mark.parametrize("packed", [False, True])
def test_idx_files_give_their_pictures_with_an_edge(tmp_path, packed):
    write_idx(tmp_path, "train", 9, packed)
    write_idx(tmp_path, "t10k", 4, packed)
    layout = source.layout(tmp_path)
    assert [record.part for record in layout.records] == ["train"] * 9 + ["test"] * 4
    assert {record.label for record in layout.records} == {"0", "1", "2"}
    picture = np.asarray(Image.open(io.BytesIO(layout.records[0].read())))
    assert picture.shape == (32, 32)
    assert np.array_equal(picture[2:-2, 2:-2], np.random.default_rng(9).integers(0, 256, (9, 28, 28), np.uint8)[0])
    assert picture[:2].max() == 0 and "28 pixels 32" in layout.sentence


@pytest.mark.parametrize("named", ["", "MNIST", "MNIST/raw"])
def test_the_folders_that_torchvision_makes_are_looked_into(tmp_path, named):
    raw = tmp_path / "data" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for begin, count in (("train", 9), ("t10k", 4)):
        write_idx(raw, begin, count)
    assert len(source.layout(tmp_path / "data" / named).records) == 13
    other = tmp_path / "data" / "FashionMNIST" / "raw"
    other.mkdir(parents=True)
    write_idx(other, "train", 5)
    assert source.is_builtin(tmp_path / "data" / named) == bool(named), "of two sets none is meant"


def test_a_set_that_everybody_knows_is_called_so(tmp_path, published):
    assert Dataset.SourceKind.of(published()) == "builtin"
    (tmp_path / "other").mkdir()
    write_idx(tmp_path / "other", "train", 9)
    assert Dataset.SourceKind.of(tmp_path / "other") == "builtin"
    assert Dataset.SourceKind.of(tmp_path / cifar.CIFAR10.folder / "nothing") == "server"


def test_a_damaged_idx_file_is_refused_in_words(tmp_path):
    write_idx(tmp_path, "train", 9)
    with pytest.raises(SourceError, match="t10k-images-idx3-ubyte is missing"):
        source.layout(tmp_path)
    write_idx(tmp_path, "t10k", 4)
    file = tmp_path / "train-images-idx3-ubyte"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(SourceError, match="not as long as it declares"):
        source.layout(tmp_path)


@pytest.mark.parametrize("name", ["cifar10", "CIFAR-100", "MNIST"])
def test_a_set_whose_files_are_not_here_is_said_plainly(tmp_path, name):
    with pytest.raises(SourceError, match=f"The files of {name} are not here: get the "):
        source.layout(tmp_path / name)
