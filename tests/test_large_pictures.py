"""Pictures that take seconds wait for each other, and hold up nobody else."""

import io
import threading
import time
from contextlib import contextmanager

import pytest
from PIL import Image

from classifier import preprocess
from classifier.predictor import Busy
from tests.test_predictor import identity, in_threads, make_predictor

pytestmark = pytest.mark.alone


@pytest.fixture
def large_from_5000(monkeypatch) -> threading.Event:
    """Pictures of more than 5,000 pixels are large, and none of them is decoded before the event."""
    monkeypatch.setattr(preprocess, "LARGE_PIXELS", 5_000)
    go, read = threading.Event(), preprocess.pixels

    def slow(data, preprocessing, limits):
        with Image.open(io.BytesIO(data)) as image:
            assert image.width * image.height <= 5_000 or go.wait(30)
        return read(data, preprocessing, limits)

    monkeypatch.setattr(preprocess, "pixels", slow)
    return go


def test_large_pictures_under_way_hold_up_no_small_one(large_from_5000, artifact_folder, picture, make_picture):
    predictor = make_predictor(places=8)
    predictor.load(identity(artifact_folder), artifact_folder)
    large, outcomes = make_picture(size=(100, 80)), []
    running = in_threads(4, lambda: outcomes.append(predictor.predict(large).label))
    while predictor._large.inside < 4:
        time.sleep(0.001)
    for _ in range(20):
        assert predictor.predict(picture, thumbnail_side=32).thumbnail
    assert outcomes == []
    large_from_5000.set()
    for thread in running:
        thread.join()
    assert len(outcomes) == 4


def test_a_large_picture_whose_turn_does_not_come_is_told_so(large_from_5000, artifact_folder, make_picture):
    predictor = make_predictor(max_wait_seconds=0.1)
    predictor.load(identity(artifact_folder), artifact_folder)
    large, outcomes = make_picture(size=(100, 80)), []
    (running,) = in_threads(1, lambda: outcomes.append(predictor.predict(large).label))
    while predictor._large.inside < 1:
        time.sleep(0.001)
    began = time.monotonic()
    with pytest.raises(Busy):
        predictor.predict(large)
    assert time.monotonic() - began < 2
    large_from_5000.set()
    running.join()
    assert len(outcomes) == 1


def test_large_pictures_wait_for_those_of_other_processes_and_small_ones_do_not(
    monkeypatch, artifact_folder, picture, make_picture
):
    monkeypatch.setattr(preprocess, "LARGE_PIXELS", 5_000)
    turns: list[str] = []

    @contextmanager
    def turn():
        turns.append("large")
        yield

    predictor = make_predictor()
    predictor.large_turn = turn
    predictor.load(identity(artifact_folder), artifact_folder)
    predictor.predict(picture)
    assert turns == []
    assert predictor.predict(make_picture(size=(100, 80)), thumbnail_side=32).thumbnail
    assert turns == ["large"]
