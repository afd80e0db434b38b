import dataclasses
import itertools
import math

import pytest
import torch
from torch import nn

from classifier.preprocess import Preprocessing, normalize
from tests.photos import make_records
from trainer import checkpoint
from trainer.data import load
from trainer.fit import deterministic
from trainer.loop import Diverged, Epoch, Step, Training, parameter_groups, progress, schedule, train
from trainer.recipe import Recipe

LABELS = ("chow", "pug", "samoyed")
SMALL = Preprocessing(resize=16, crop=16)
RECIPE = Recipe(
    image_size=16, epochs=4, batch_size=8, learning_rate=0.01, head_learning_rate=0.02, average=0.5, mixup=0.2,
    batch_norm="trained",
)  # fmt: skip


class Tiny(nn.Module):
    """Everything a resume can forget: batch-norm statistics, dropout, a head of its own rate."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
        self.head = nn.Sequential(nn.Flatten(), nn.Dropout(0.3), nn.Linear(8, 3))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(images))


@pytest.fixture(scope="module")
def photos():
    return load(make_records(LABELS, 10), LABELS, SMALL)


@pytest.fixture(autouse=True)
def reproducible():
    deterministic()
    yield
    torch.use_deterministic_algorithms(False)


def start(photos, recipe: Recipe = RECIPE) -> Training:
    torch.manual_seed(0)
    return Training(Tiny(), recipe, head="head", steps_per_epoch=photos.steps(recipe.batch_size))


def bits(training: Training) -> list[bytes]:
    return [tensor.numpy().tobytes() for tensor in training.kept().state_dict().values()]


def test_it_learns_to_tell_the_labels_apart(photos):
    recipe = Recipe.from_dict(RECIPE.as_dict() | {"epochs": 12, "mixup": 0.0, "average": 0})
    training = start(photos, recipe)
    epochs = list(train(training, photos, SMALL))
    assert [epoch.number for epoch in epochs] == list(range(1, 13))
    assert epochs[-1].loss < epochs[0].loss
    images = torch.from_numpy(normalize(photos.pixels.numpy(), SMALL))
    assert (training.kept()(images).argmax(1) == photos.labels).float().mean() == 1
    assert all(epoch.skipped_steps == 0 and epoch.images_per_second > 0 for epoch in epochs)


def test_the_same_seed_gives_the_same_bits_and_another_seed_others(photos):
    runs = []
    for seed in (1, 1, 2):
        training = start(photos, dataclasses.replace(RECIPE, seed=seed))
        list(train(training, photos, SMALL))
        runs.append(bits(training))
    assert runs[0] == runs[1] != runs[2]


@pytest.mark.parametrize("stop_after", [1, 3])
def test_a_resumed_training_ends_with_the_same_bits(photos, tmp_path, stop_after: int):
    whole = start(photos)
    epochs = list(train(whole, photos, SMALL))
    stopped = start(photos)
    for epoch in train(stopped, photos, SMALL):
        checkpoint.save(tmp_path, stopped.state(), epoch=epoch.number)
        if epoch.number == stop_after:
            break
    resumed = start(photos)
    torch.rand(7)  # a process that starts anew stands elsewhere in the global generator
    resumed.restore(checkpoint.latest(tmp_path))
    rest = list(train(resumed, photos, SMALL))
    assert bits(resumed) == bits(whole)
    assert [(e.number, e.loss, e.accuracy) for e in rest] == [
        (e.number, e.loss, e.accuracy) for e in epochs[stop_after:]
    ]


@pytest.mark.parametrize("stop_after", [1, 2, 3, 5, 8])
def test_a_training_stopped_within_an_epoch_ends_with_the_same_bits_and_figures(photos, tmp_path, stop_after: int):
    """R5: thirty photos in batches of eight are four steps an epoch."""
    whole = start(photos)
    steps = list(progress(whole, photos, SMALL))
    stopped = start(photos)
    before = list(itertools.islice(progress(stopped, photos, SMALL), stop_after))
    checkpoint.save(tmp_path, stopped.state(), epoch=stopped.epochs_done, step=stopped.sums.steps)
    resumed = start(photos)
    torch.rand(7)
    resumed.restore(checkpoint.latest(tmp_path))
    rest = list(progress(resumed, photos, SMALL))
    assert bits(resumed) == bits(whole)
    assert [figures(one) for one in before + rest] == [figures(one) for one in steps]


def figures(one: Step | Epoch) -> dict:
    return {name: value for name, value in dataclasses.asdict(one).items() if "second" not in name}


def test_a_checkpoint_of_another_recipe_is_refused(photos):
    with pytest.raises(ValueError, match="another recipe"):
        start(photos).restore(start(photos, dataclasses.replace(RECIPE, epochs=5)).state())


def test_frozen_batch_norm_statistics_stand_still_while_its_scale_learns(photos):
    training = start(photos, dataclasses.replace(RECIPE, batch_norm="frozen"))
    before = {name: tensor.clone() for name, tensor in training.net.state_dict().items()}
    list(train(training, photos, SMALL))
    after = training.net.state_dict()
    assert torch.equal(after["body.1.running_mean"], before["body.1.running_mean"])
    assert torch.equal(after["body.1.running_var"], before["body.1.running_var"])
    assert not torch.equal(after["body.1.weight"], before["body.1.weight"])


def test_a_loss_that_becomes_nan_stops_with_epoch_step_and_rate(photos):
    training = start(photos, dataclasses.replace(RECIPE, learning_rate=1e3, head_learning_rate=1e3, clip_norm=0))
    with torch.no_grad():
        training.net.head[2].weight.fill_(math.inf)
    with pytest.raises(Diverged, match=r"epoch 1, step 3 \(learning rate"):
        list(train(training, photos, SMALL))


def test_one_step_that_is_not_finite_is_skipped_and_counted(photos, monkeypatch):
    training = start(photos)
    whole_step, calls = training.step, []

    def step(images, targets):
        calls.append(1)
        return whole_step(images * math.nan if len(calls) == 2 else images, targets)

    monkeypatch.setattr(training, "step", step)
    training.net.body[1].eval()
    first = next(train(training, photos, SMALL))
    assert first.skipped_steps == 1
    assert math.isfinite(first.loss)
    assert all(torch.isfinite(parameter).all() for parameter in training.kept().parameters())


def test_more_than_one_in_a_hundred_steps_that_are_not_finite_stop_it(photos):
    for steps, allowed in ((400, 4), (50, 2)):
        training = start(photos)
        training.steps_per_epoch = steps
        for _ in range(allowed):
            training.count(math.nan, 0, 8, 0.1)
            training.count(1.0, 8, 8, 0.1)
        with pytest.raises(Diverged, match="epoch 1"):
            training.count(math.nan, 0, 8, 0.1)


def test_the_average_follows_the_weights_from_behind(photos):
    training = start(photos, dataclasses.replace(RECIPE, average=0.9))
    begun = training.net.head[2].weight.detach().clone()
    list(train(training, photos, SMALL))
    moved = (training.net.head[2].weight - begun).norm()
    assert 0 < (training.kept().head[2].weight - begun).norm() < moved


def test_the_head_has_its_own_rate_and_vectors_no_decay():
    groups = parameter_groups(Tiny(), RECIPE, head="head")
    assert {(group["highest"], group["weight_decay"]): len(group["params"]) for group in groups} == {
        (0.01, 0.05): 1,  # the convolution
        (0.01, 0.0): 3,  # its bias, the norm's scale and shift
        (0.02, 0.05): 1,
        (0.02, 0.0): 1,
    }


def test_a_second_cycle_rises_and_falls_again(photos):
    training = start(photos, dataclasses.replace(RECIPE, epochs=4, cycles=2, warmup=0))
    rates = [epoch.learning_rate for epoch in train(training, photos, SMALL)]
    assert rates[:2] == rates[2:]
    assert rates[0] > rates[1]


def test_the_schedule_rises_and_falls_to_nothing():
    rates = [schedule(step, 100, 0.1) for step in range(101)]
    assert rates[0] == pytest.approx(1 / 11)
    assert rates[10] == 1
    assert rates[55] == pytest.approx(0.5)
    assert rates[100] == pytest.approx(0)
    assert max(rates) == 1
    assert schedule(0, 10, 0) == 1
