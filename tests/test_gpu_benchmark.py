"""The benchmark of GPUs: what it counts, and what it says where there is none."""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.gpu_serve import SIZES, alone, bare, difference
from classifier import artifact, preprocess
from classifier.engines.torch import TorchEngine
from classifier.preprocess import Preprocessing
from tests.engines import STARTER
from tests.pictures import encode, smooth

pytestmark = pytest.mark.alone

ROOT = Path(__file__).resolve().parent.parent
PHOTOS = [encode(smooth(seed)) for seed in range(4)]


class Slow:
    """Takes ten milliseconds for each pass."""

    def __init__(self) -> None:
        self.given: list[tuple[int, ...]] = []

    def __call__(self, pictures: np.ndarray) -> np.ndarray:
        self.given.append(pictures.shape)
        time.sleep(0.01)
        return np.zeros((len(pictures), 2), np.float32)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has the GPU that is missing here")
def test_where_there_is_no_gpu_it_says_so_in_one_sentence(tmp_path):
    command = [sys.executable, "-m", "benchmarks.gpu_serve", "--photos", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr == "There is no cuda:0 on this machine, so nothing was measured.\n"


def test_rates_are_of_pictures_and_not_of_passes():
    engine = Slow()
    rates = alone(engine, np.zeros((3, 8, 8, 3), np.uint8), seconds=0.4)
    assert tuple(rates) == SIZES and {shape[0] for shape in engine.given} == set(SIZES)
    assert all(size < rate <= 100 * size for size, rate in rates.items()), rates


def test_the_bare_pass_counts_what_was_decoded_and_given_to_the_engine():
    engine = Slow()
    began = time.perf_counter()
    rate = bare(engine, PHOTOS, Preprocessing(resize=16, crop=16), seconds=0.3)
    given = sum(shape[0] for shape in engine.given)
    assert given > 0 and rate >= given / (time.perf_counter() - began)
    assert bare(None, PHOTOS, Preprocessing(resize=16, crop=16), seconds=0.3) > 0


def test_the_same_network_elsewhere_differs_by_little_and_another_one_by_more():
    spec = artifact.read(STARTER)
    pictures = np.stack([preprocess.pixels(photo, spec.preprocessing) for photo in PHOTOS])
    engine = TorchEngine(STARTER, spec, device="cpu:0")
    found = difference(engine, STARTER, spec, pictures)
    assert found["most"] < 1e-4 and found["same_label"] == 1
    wrong = difference(lambda images: -engine(images), STARTER, spec, pictures)
    assert wrong["most"] > 0.01 and wrong["same_label"] < 1
