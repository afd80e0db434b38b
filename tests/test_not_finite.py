"""Steps and epochs of a training whose loss is not finite, up to the card of its version."""

import json
import math
from pathlib import Path

import pytest
import torch

from classifier import artifact
from tests.test_loop import RECIPE, Tiny
from tests.trainings import write_job
from trainer import fit, process
from trainer.loop import Diverged, Training
from trainer.teller import Teller

pytestmark = pytest.mark.alone


@pytest.fixture(autouse=True)
def as_before():
    yield
    torch.use_deterministic_algorithms(False)


def start() -> Training:
    return Training(Tiny(), RECIPE, head="head", steps_per_epoch=2)


@pytest.mark.parametrize("skipped", [{2}, {1, 2}])
def test_an_epoch_s_figures_are_of_the_photos_it_learnt_from(skipped: set[int]):
    """A step that was skipped weighs nothing, in the loss or in the accuracy."""
    training = start()
    for number, (loss, right, seen) in enumerate(((2.0, 6, 8), (3.0, 1, 4)), start=1):
        training.count(math.nan if number in skipped else loss, right, seen, 0.1)
    epoch = training.end_epoch()
    assert epoch.images_per_second == pytest.approx(12 / 0.2) and epoch.skipped_steps == len(skipped)
    if 1 in skipped:
        assert math.isnan(epoch.loss) and math.isnan(epoch.accuracy)
    else:
        assert (epoch.loss, epoch.accuracy) == (2.0, 0.75)


def test_three_skipped_steps_in_a_row_stop_it_across_epochs_and_resumes():
    """An epoch of two steps never has three."""
    training = start()
    for _ in range(2):
        training.count(math.nan, 0, 8, 0.1)
    training.end_epoch()
    resumed = start()
    resumed.restore(training.state())
    for one in (training, resumed):
        with pytest.raises(Diverged, match="epoch 2, step 1"):
            one.count(math.nan, 0, 8, 0.1)


def test_a_checkpoint_of_an_earlier_release_is_read():
    """It counted the skipped steps within the epoch alone, and kept no count of the photos that were learnt from."""
    training = start()
    training.count(1.0, 4, 8, 0.1)
    training.count(math.nan, 0, 8, 0.1)
    state = training.state()
    del state["skipped_in_a_row"], state["sums"]["learnt"]
    state["sums"]["skipped_in_a_row"] = 1
    training.restore(state)
    assert (training.skipped_in_a_row, training.sums.learnt, training.sums.steps) == (1, 16, 2)


def job(folder: Path, **changes: object) -> process.Job:
    return process.Job(**json.loads(write_job(folder, **changes).read_text()))


def losses(monkeypatch, *values: float) -> None:
    those = iter(values)
    monkeypatch.setattr(fit, "loss_of", lambda logits, answers: next(those))


def test_one_epoch_without_a_finite_loss_does_not_cost_the_version(tmp_path, monkeypatch, capsys):
    losses(monkeypatch, math.nan, 1.0, math.inf)
    process.run(job(tmp_path), Teller())
    origin = artifact.read(tmp_path / "artifact").origin
    assert [epoch["validation_loss"] for epoch in origin["epochs"]] == [None, 1.0, None]
    assert origin["best_epoch"] == 2
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["validation_loss"] for one in told if one["event"] == "epoch"] == [None, 1.0, None]


def test_without_any_the_training_fails_with_its_sentence(tmp_path, monkeypatch):
    losses(monkeypatch, math.nan, math.nan)
    for publishing in (False, True):
        with pytest.raises(Diverged, match="finite in no epoch"):
            process.run(job(tmp_path, recipe={"epochs": 2}, only_publish=publishing), Teller())
