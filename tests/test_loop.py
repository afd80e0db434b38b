import dataclasses
import itertools
import math
import weakref

import pytest
import torch
from torch import nn

from classifier.preprocess import Preprocessing, normalize
from tests.photos import make_records
from trainer import checkpoint
from trainer.data import load
from trainer.gpu import in_bfloat16, settle
from trainer.group import Group
from trainer.loop import Diverged, Epoch, Step, TooLittleMemory, Training, progress, train
from trainer.recipe import Recipe

pytestmark = pytest.mark.alone

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
    settle(torch.device("cpu"))
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
    """Thirty photos in batches of eight are four steps an epoch."""
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

    def step(images, targets, share):
        calls.append(1)
        return whole_step(images * math.nan if len(calls) == 2 else images, targets, share)

    monkeypatch.setattr(training, "step", step)
    training.net.body[1].eval()
    first = next(train(training, photos, SMALL))
    assert first.skipped_steps == 1
    assert math.isfinite(first.loss)
    assert all(torch.isfinite(parameter).all() for parameter in training.kept().parameters())


def test_constant_photos_train_without_a_number_that_is_not_finite(photos):
    """A variance of nothing."""
    pixels = torch.full_like(photos.pixels, 7)
    for epoch in train(start(photos), dataclasses.replace(photos, pixels=pixels), SMALL):
        assert math.isfinite(epoch.loss) and epoch.skipped_steps == 0


@pytest.mark.parametrize("fault", ["gradient", "pictures"])
def test_a_step_that_is_not_finite_leaves_nothing_behind(photos, fault: str):
    """Neither in the weights nor in the optimizer, the average or the batch-norm statistics."""
    training = start(photos)
    training.train_mode()
    targets = torch.eye(photos.label_count)[torch.arange(8) % 3]
    training.step(torch.rand(8, 3, 16, 16), targets)
    before = {name: one.clone() for name, one in training.net.state_dict().items()}
    first = next(training.net.parameters())
    moments = {name: one.clone() for name, one in training.optimizer.state[first].items()}
    images = torch.rand(8, 3, 16, 16)
    if fault == "pictures":
        images[3, 0, 0, 0] = math.inf
    else:
        first.register_hook(lambda gradient: gradient * math.nan)
    _, loss = training.step(images, targets)
    assert math.isnan(loss)
    assert all(torch.equal(one, before[name]) for name, one in training.net.state_dict().items())
    assert all(torch.equal(one, moments[name]) for name, one in training.optimizer.state[first].items())
    assert all(torch.isfinite(one).all() for one in training.kept().state_dict().values())


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


def test_a_second_cycle_rises_and_falls_again(photos):
    training = start(photos, dataclasses.replace(RECIPE, epochs=4, cycles=2, warmup=0))
    rates = [epoch.learning_rate for epoch in train(training, photos, SMALL)]
    assert rates[:2] == rates[2:]
    assert rates[0] > rates[1]


def test_a_batch_in_parts_makes_the_same_step(photos):
    runs = []
    for parts in (1, 3):
        recipe = dataclasses.replace(RECIPE, accumulation=parts, batch_norm="frozen", optimizer="sgd", clip_norm=0)
        training = start(photos, recipe)
        training.net.head[1].p = 0.0  # dropout draws by parts
        epochs = list(train(training, photos, SMALL))
        runs.append((epochs[-1].loss, training.net.body[0].weight.detach().clone()))
    assert runs[0][0] == pytest.approx(runs[1][0], rel=1e-5)
    assert torch.allclose(runs[0][1], runs[1][1], atol=1e-6)


def test_what_is_frozen_stands_still_with_its_statistics(photos):
    training = start(photos, dataclasses.replace(RECIPE, trainable="head"))
    before = {name: tensor.clone() for name, tensor in training.net.state_dict().items()}
    list(train(training, photos, SMALL))
    moved = {name for name, tensor in training.net.state_dict().items() if not torch.equal(tensor, before[name])}
    assert moved == {"head.2.weight", "head.2.bias"}


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": "sgd", "schedule": "one-cycle", "clip_value": 0.1, "clip_norm": 0},
        {"optimizer": "adam", "schedule": "step", "step_epochs": 2, "balance": "oversampling"},
        {"schedule": "constant", "cutmix": 1.0, "randaugment_operations": 2, "accumulation": 2},
        {"crop_padding": 2, "crop_scale": 1, "crop_ratio": 1, "rotation_degrees": 0, "precision": "bfloat16"},
    ],
)
def test_every_technique_resumes_to_the_same_bits(photos, tmp_path, changes: dict):
    recipe = dataclasses.replace(RECIPE, **changes)
    whole = start(photos, recipe)
    list(train(whole, photos, SMALL))
    stopped = start(photos, recipe)
    next(train(stopped, photos, SMALL))
    checkpoint.save(tmp_path, stopped.state(), epoch=1)
    resumed = start(photos, recipe)
    resumed.restore(checkpoint.latest(tmp_path))
    list(train(resumed, photos, SMALL))
    assert bits(resumed) == bits(whole)


def test_label_weights_weigh_in_the_loss(photos):
    images, targets = torch.rand(6, 3, 16, 16), torch.eye(3).repeat(2, 1)
    losses = []
    for weights in (None, torch.ones(3), torch.tensor([0.0, 0.0, 3.0])):
        training = start(photos, dataclasses.replace(RECIPE, label_smoothing=0, learning_rate=0, head_learning_rate=0))
        training.net.eval()
        training.label_weights = weights
        logits, loss = training.step(images, targets)
        losses.append(loss)
    assert losses[0] == losses[1]
    assert float(losses[2]) == pytest.approx(float(-logits.log_softmax(1)[[2, 5], 2].mean()), rel=1e-5)


def test_figures_that_are_read_several_steps_at_once_are_the_same_and_may_be_saved_at_each(photos, tmp_path):
    """As on a GPU, where every look waits for it."""
    steps = list(progress(start(photos), photos, SMALL))
    for stop_after in (1, 4):
        seldom = start(photos)
        seldom.look_steps = 3
        before = list(itertools.islice(progress(seldom, photos, SMALL), stop_after))
        assert seldom.sums.steps == {1: 3, 4: 4}[stop_after]
        checkpoint.save(tmp_path, seldom.state(), epoch=0, step=seldom.sums.steps)
        resumed = start(photos)
        resumed.restore(checkpoint.latest(tmp_path))
        rest = list(progress(resumed, photos, SMALL))
        assert [figures(one) for one in before] == [figures(one) for one in steps[:stop_after]]
        assert [figures(one) for one in rest] == [figures(one) for one in steps[seldom.steps :]]


def test_parts_are_as_many_in_every_process_where_batch_norms_wait_for_one_another(photos):
    """Of shares that differ by a photo."""
    training = start(photos)
    training.parts = 4
    shares = [Group(rank, 2).share(9) for rank in range(2)]
    rows = [torch.zeros(9)[share.part] for share in shares]
    assert [len(training.in_parts(own, share)) for own, share in zip(rows, shares, strict=True)] == [3, 4]
    training.synchronized = True
    assert [len(training.in_parts(own, share)) for own, share in zip(rows, shares, strict=True)] == [4, 4]


class Narrow(Tiny):
    """A network on a device that has room for so many photos at a time."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room
        self.left_over = []  # weak references to what a refused step had in its hands

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        assert all(reference() is None for reference in self.left_over)
        maps = self.body(images)
        if len(images) > self.room:
            self.left_over.append(weakref.ref(maps))
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return self.head(maps)


def test_a_batch_that_does_not_fit_is_computed_in_parts_and_nothing_of_the_attempt_is_kept(photos):
    """An exception's frames would keep the tensors that fill the memory."""
    trainings = []
    for room, parts in ((2, 1), (8, 4)):
        torch.manual_seed(0)
        training = Training(Narrow(room), RECIPE, head="head", steps_per_epoch=photos.steps(RECIPE.batch_size))
        training.parts = parts
        list(train(training, photos, SMALL))
        assert training.parts == 4
        trainings.append(training)
    assert [len(training.net.left_over) for training in trainings] == [2, 0]
    assert bits(trainings[0]) == bits(trainings[1])  # batch-norm statistics among them


def test_memory_that_does_not_hold_two_photos_is_said_with_advice(photos):
    training = Training(Narrow(1), RECIPE, head="head", steps_per_epoch=photos.steps(RECIPE.batch_size))
    with pytest.raises(TooLittleMemory, match="smaller image_size"):
        list(train(training, photos, SMALL))
    assert all(parameter.grad is None for parameter in training.net.parameters())


def test_the_device_decides_the_arithmetic_where_the_recipe_leaves_it_open(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    cpu, cuda = torch.device("cpu"), torch.device("cuda", 1)
    found = {
        precision: [in_bfloat16(dataclasses.replace(RECIPE, precision=precision), device) for device in (cpu, cuda)]
        for precision in ("auto", "float32", "bfloat16")
    }
    assert found == {"auto": [False, True], "float32": [False, False], "bfloat16": [True, True]}
