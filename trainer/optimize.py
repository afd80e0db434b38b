"""From gradients to steps: the optimizer a recipe names, its groups of parameters, and clipping."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from trainer.recipe import Recipe
from trainer.schedule import Point


def optimizer(net: nn.Module, recipe: Recipe, *, head: str) -> torch.optim.Optimizer:
    """For the parameters that learn; `head` is the name of the head, which has a learning rate of its own."""
    groups = parameter_groups(net, recipe, head=head)
    if recipe.optimizer == "sgd":
        made = torch.optim.SGD(groups, momentum=recipe.momentum, fused=True)
        for group in made.param_groups:  # else a first step that is skipped would leave them unwritten
            for parameter in group["params"]:
                made.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        return made
    kind = torch.optim.AdamW if recipe.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, betas=(recipe.momentum, 0.999), fused=True)


def parameter_groups(net: nn.Module, recipe: Recipe, *, head: str) -> list[dict[str, Any]]:
    """Head and rest at their own learning rates; vectors (biases, norms) without weight decay."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in net.named_parameters():
        if not parameter.requires_grad:
            continue
        highest = recipe.head_learning_rate if name.startswith(f"{head}.") else recipe.learning_rate
        decay = recipe.weight_decay if parameter.ndim > 1 else 0.0
        groups.setdefault((highest, decay), []).append(parameter)
    return [
        {"params": parameters, "lr": highest, "highest": highest, "weight_decay": decay}
        for (highest, decay), parameters in groups.items()
    ]


def move_to(optimizer: torch.optim.Optimizer, point: Point) -> None:
    """Set each group's learning rate, and the momentum where the schedule has one."""
    for group in optimizer.param_groups:
        group["lr"] = group["highest"] * point.rate
        if point.momentum is not None and "betas" in group:
            group["betas"] = (point.momentum, group["betas"][1])
        elif point.momentum is not None:
            group["momentum"] = point.momentum


def step_if(optimizer: torch.optim.Optimizer, norm: Tensor) -> Tensor:
    """Make the step unless the gradient's norm is NaN or infinite: then neither weights nor moments move. Whether it
    was made, a tensor () of bool where the gradients are: a GPU is not waited for.
    """
    finite = torch.isfinite(norm)
    optimizer.found_inf = 1 - finite.float()  # type: ignore[attr-defined]  # as torch.amp.GradScaler tells fused steps
    optimizer.step()
    return finite


def clip(net: nn.Module, recipe: Recipe) -> Tensor:
    """Bound the gradients by their norm and by their values. Returns the norm before; NaN or infinite: make no step."""
    norm = nn.utils.clip_grad_norm_(net.parameters(), recipe.clip_norm or math.inf)
    if recipe.clip_value:
        nn.utils.clip_grad_value_(net.parameters(), recipe.clip_value)
    return norm
