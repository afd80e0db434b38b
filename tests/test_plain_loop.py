"""The loop beside the plain one that torch's own documentation would write, on the same photos in the same order."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import OneCycleLR

from tests.photos import make_records
from trainer.data import Photos, load
from trainer.loop import Training, train
from trainer.presets import PRESETS
from trainer.recipe import NORMALIZATIONS, Recipe

pytestmark = pytest.mark.alone

LABELS = ("chow", "pug", "samoyed")
EPOCHS = 4
STILL = {"photo_size": 16, "image_size": 16, "crop_padding": 0, "flip": 0.0, "batch_size": 8, "epochs": EPOCHS}


def small_net() -> nn.Sequential:
    """Its convolution has no bias: before a batch norm the gradient of one is rounding noise, which Adam blows up."""
    torch.manual_seed(0)
    convolution = nn.Conv2d(3, 8, 3, 2, bias=False)
    body = nn.Sequential(convolution, nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(body, nn.Linear(8, 3))


def plain(net: nn.Module, photos: Photos, recipe: Recipe, optimizer: torch.optim.Optimizer) -> list[float]:
    """Trains, and returns each step's loss. One-cycle where the recipe has it, else a rate that stands still."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in NORMALIZATIONS[recipe.normalization])
    steps = EPOCHS * photos.steps(recipe.batch_size)
    highest = [group["lr"] for group in optimizer.param_groups]
    schedule = OneCycleLR(optimizer, highest, steps) if recipe.schedule == "one-cycle" else None
    losses = []
    net.train()
    for epoch in range(EPOCHS):
        for pixels, labels in photos.batches(recipe, epoch):
            images = (pixels.permute(0, 3, 1, 2) / 255 - mean) / std
            optimizer.zero_grad()
            loss = F.cross_entropy(net(images), labels)
            loss.backward()
            if recipe.clip_value:
                nn.utils.clip_grad_value_(net.parameters(), recipe.clip_value)
            optimizer.step()
            if schedule:
                schedule.step()
            losses.append(loss.item())
    return losses


def groups(net: nn.Module, decay: float) -> list[dict]:
    """Biases and norms are spared the decay."""
    matrices = [one for one in net.parameters() if one.ndim > 1]
    vectors = [one for one in net.parameters() if one.ndim == 1]
    return [{"params": matrices, "weight_decay": decay}, {"params": vectors, "weight_decay": 0.0}]


@pytest.mark.parametrize("preset", ["cifar10-resnet9", "animals10-cnn", "cifar100-deepnet"])
def test_a_preset_makes_the_steps_of_a_plain_loop(preset: str):
    recipe = PRESETS[preset].changed(**STILL, rotation_degrees=0.0, shift=0.0, zoom=0.0)
    photos = load(make_records(LABELS, 10), LABELS, recipe.preprocessing())
    net = small_net()
    other = copy.deepcopy(net)
    if recipe.optimizer == "adam":
        optimizer: torch.optim.Optimizer = torch.optim.Adam(groups(other, recipe.weight_decay), recipe.learning_rate)
    else:
        optimizer = torch.optim.SGD(groups(other, recipe.weight_decay), recipe.learning_rate, momentum=recipe.momentum)
    wanted = plain(other, photos, recipe, optimizer)
    training = Training(net, recipe, head="1", steps_per_epoch=photos.steps(recipe.batch_size))
    trails = [epoch.trail for epoch in train(training, photos, recipe.preprocessing())]
    assert [loss for trail in trails for _, _, loss in trail] == pytest.approx(wanted, rel=1e-4)
    for name, tensor in other.state_dict().items():
        torch.testing.assert_close(training.kept().state_dict()[name], tensor, rtol=1e-3, atol=1e-5, msg=name)
