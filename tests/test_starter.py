"""The whole way from photos to an artifact, with the real command on a small scale."""

import json
import subprocess
import sys

import pytest
import torch

from benchmarks.accuracy import CHANGES, measurements
from classifier import artifact
from classifier.networks import torchvision_family
from classifier.preprocess import Preprocessing
from tests.photos import write_photos
from trainer import dataset, starter
from trainer.environment import SETTINGS, completed
from trainer.fit import Fit
from trainer.ingest import source
from trainer.recipe import Recipe

pytestmark = pytest.mark.alone

RECIPE = Recipe(architecture="squeezenet1_1", image_size=32, epochs=2, batch_size=16)
LABELS = ("chow", "pug", "samoyed")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return write_photos(tmp_path_factory.mktemp("data") / "photos", LABELS, count=10)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("weights") / "squeezenet.pth"
    torch.save(torchvision_family.create("squeezenet1_1", label_count=1000).state_dict(), file)
    return file


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(starter, "PREPROCESSING", Preprocessing(resize=32, crop=32))
    yield
    torch.use_deterministic_algorithms(False)


def test_it_makes_an_artifact_that_verifies_and_answers_as_its_card_says(photos, weights, tmp_path, small):
    out = tmp_path / "starter"
    starter.make(photos, weights, out=out, work=tmp_path / "work", name="tiny", recipe=RECIPE)
    spec = artifact.verify(out)
    assert spec.labels == LABELS
    assert spec.origin["recipe"] == RECIPE.as_dict()
    assert spec.origin["labels_started_by_name"] == 3
    assert spec.origin["split"] == {"train": 24, "validation": 3, "test": 3}
    assert [epoch["number"] for epoch in spec.origin["epochs"]] == [1, 2]
    assert spec.origin["best_epoch"] in (1, 2)
    test, *changed = measurements(photos, out, threads=1)
    assert test["n"] == 3
    assert test["same_photos_as_on_the_card"]
    assert test["same_top1_as_on_the_card"]
    assert [line["n"] for line in changed] == [3] * (1 + len(CHANGES))


def test_it_never_overwrites_an_artifact(photos, weights, tmp_path, small):
    with pytest.raises(artifact.ArtifactError, match="exists already"):
        starter.make(photos, weights, out=tmp_path, work=tmp_path / "work", name="tiny", recipe=RECIPE)


def test_a_stopped_fit_goes_on_with_the_same_result_and_keeps_its_best_epoch(photos, weights, tmp_path):
    parts = dataset.prepare(source.records(photos), seed=1)

    def fit(work: str) -> Fit:
        net = torchvision_family.create("squeezenet1_1", label_count=3)
        net.load_state_dict(STATE)
        return Fit(net, parts, RECIPE, Preprocessing(resize=32, crop=32), work=tmp_path / work)

    torch.manual_seed(0)
    STATE = torchvision_family.create("squeezenet1_1", label_count=3).state_dict()
    whole = fit("whole")
    measured = list(whole.epochs())
    next(fit("stopped").epochs())
    resumed = fit("stopped")
    assert [one.epoch.number for one in resumed.epochs()] == [2]
    assert resumed.best["epoch"] == whole.best["epoch"] == min(measured, key=lambda m: m.validation_loss).epoch.number
    assert resumed.best["loss"] == whole.best["loss"]
    (net, losses), (other, _) = resumed.best_net(), whole.best_net()
    assert list(losses.values()) == sorted(losses.values())
    for one, same in zip(net.parameters(), other.parameters(), strict=True):
        assert torch.equal(one, same)


def test_the_command_says_what_is_missing_in_one_line(photos, tmp_path):
    command = [sys.executable, "-m", "trainer.starter", "--data", photos, "--weights", tmp_path / "none.pth"]
    done = subprocess.run(
        [*command, "--out", tmp_path / "out", "--work", tmp_path / "work"], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert (
        done.stderr.splitlines()[-1]
        == f"There is no file {tmp_path}/none.pth: name the file with the pretrained weights."
    )
    assert "Traceback" not in done.stderr


def test_settings_of_the_environment_are_added_but_not_overruled():
    assert completed({}) == SETTINGS
    assert completed({"OMP_WAIT_POLICY": "active", "HOME": "/"}) == SETTINGS | {
        "OMP_WAIT_POLICY": "active",
        "HOME": "/",
    }


def test_the_card_names_what_the_model_is_not_for():
    assert json.dumps(starter.CARD.not_for)
    assert starter.CARD.backbone_has_seen_the_photos
