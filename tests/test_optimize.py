import math

import pytest
import torch
from torch import nn

from trainer.optimize import clip, move_to, optimizer, parameter_groups, step_if
from trainer.recipe import Recipe
from trainer.schedule import Point

pytestmark = pytest.mark.alone

RECIPE = Recipe(learning_rate=0.01, head_learning_rate=0.02)


def make() -> nn.Sequential:
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    net = nn.Sequential()
    net.add_module("body", body)
    net.add_module("head", nn.Linear(4, 3))
    return net


def test_the_head_has_its_own_rate_and_vectors_no_decay():
    groups = parameter_groups(make(), RECIPE, head="head")
    assert {(group["highest"], group["weight_decay"]): len(group["params"]) for group in groups} == {
        (0.01, 0.05): 1,  # the convolution
        (0.01, 0.0): 3,  # its bias, the norm's scale and shift
        (0.02, 0.05): 1,
        (0.02, 0.0): 1,
    }


def test_what_is_frozen_is_in_no_group():
    net = make()
    net.body.requires_grad_(False)
    assert {group["highest"] for group in parameter_groups(net, RECIPE, head="head")} == {0.02}


@pytest.mark.parametrize(
    ("name", "kind"), [("sgd", torch.optim.SGD), ("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)]
)
def test_a_recipe_names_its_optimizer_and_a_schedule_sets_rate_and_momentum(name: str, kind: type):
    made = optimizer(make(), Recipe(optimizer=name, momentum=0.8), head="head")
    assert type(made) is kind
    momenta = [group["momentum"] if name == "sgd" else group["betas"][0] for group in made.param_groups]
    assert set(momenta) == {0.8}
    move_to(made, Point(0.5, 0.9))
    assert all(group["lr"] == group["highest"] / 2 for group in made.param_groups)
    momenta = [group["momentum"] if name == "sgd" else group["betas"][0] for group in made.param_groups]
    assert set(momenta) == {0.9}


def test_sgd_steps_as_written_down():
    net = make()
    weight = net.head.weight.detach().clone()
    made = optimizer(net, Recipe(optimizer="sgd", momentum=0.5, weight_decay=0.1, head_learning_rate=0.2), head="head")
    net(torch.ones(2, 3, 4, 4)).square().sum().backward()
    gradient = net.head.weight.grad + 0.1 * weight
    made.step()
    assert torch.allclose(net.head.weight, weight - 0.2 * gradient)


def test_gradients_are_clipped_by_norm_and_by_value():
    net = nn.Linear(2, 1, bias=False)
    net.weight.grad = torch.tensor([[3.0, -4.0]])
    assert clip(net, Recipe(clip_norm=0, clip_value=0)) == 5
    assert net.weight.grad.tolist() == [[3, -4]]
    clip(net, Recipe(clip_norm=0, clip_value=3.5))
    assert net.weight.grad.tolist() == [[3, -3.5]]
    clip(net, Recipe(clip_norm=1))
    assert net.weight.grad.norm() == pytest.approx(1, abs=1e-4)


def test_a_gradient_that_is_not_finite_is_told_by_its_norm():
    net = nn.Linear(2, 1, bias=False)
    net.weight.grad = torch.tensor([[math.nan, 1.0]])
    assert not torch.isfinite(clip(net, Recipe(clip_value=0.1)))


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_a_step_that_is_not_finite_leaves_weights_and_moments_and_the_next_is_as_if_it_were_the_first(name: str):
    nets = []
    for gradients in ([math.nan, 1.0], [1.0]):
        net = make()
        made = optimizer(net, Recipe(optimizer=name, learning_rate=0.1, head_learning_rate=0.1), head="head")
        begun = net.head.weight.detach().clone()
        for gradient in gradients:
            for parameter in net.parameters():
                parameter.grad = torch.full_like(parameter, gradient)
            done = step_if(made, clip(net, Recipe(clip_norm=0)))
            assert bool(done) == math.isfinite(gradient) == (not torch.equal(net.head.weight, begun))
        nets.append(net)
    assert all(torch.equal(one, other) for one, other in zip(nets[0].parameters(), nets[1].parameters(), strict=True))
