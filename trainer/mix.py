"""Blend the pictures of a batch with one another, and their targets alike."""

import numpy as np
import torch
from torch import Tensor

from trainer.augment import beside
from trainer.recipe import Recipe


def mix(images: Tensor, targets: Tensor, recipe: Recipe, draws: torch.Generator) -> tuple[Tensor, Tensor]:
    """Mixup or cutmix of images (B, 3, H, W) and targets (B, K); where a recipe has both, a coin decides each batch."""
    if recipe.mixup and recipe.cutmix:
        coin = torch.rand((), generator=draws) < 0.5
        return mixup(images, targets, recipe.mixup, draws) if coin else cutmix(images, targets, recipe.cutmix, draws)
    images, targets = mixup(images, targets, recipe.mixup, draws)
    return cutmix(images, targets, recipe.cutmix, draws)


def mixup(images: Tensor, targets: Tensor, strength: float, draws: torch.Generator) -> tuple[Tensor, Tensor]:
    """Each picture blended with another of the batch, targets (B, K) alike (Zhang et al. 2018, arXiv:1710.09412). Of
    features (B, D) it is manifold mixup (Verma et al. 2019, arXiv:1806.05236)."""
    if strength == 0:
        return images, targets
    share = beta(len(images), strength, draws)
    share = beside(torch.maximum(share, 1 - share), images)
    other = beside(torch.randperm(len(images), generator=draws), images)
    picture_share = share.view(-1, *[1] * (images.ndim - 1))
    images = images * picture_share + images[other] * (1 - picture_share)
    return images, blended(targets, other, share)


def cutmix(images: Tensor, targets: Tensor, strength: float, draws: torch.Generator) -> tuple[Tensor, Tensor]:
    """A box of each picture taken from another, targets by the area left (Yun et al. 2019, arXiv:1905.04899)."""
    if strength == 0:
        return images, targets
    count, _, height, width = images.shape
    side = beside(torch.sqrt(1 - beta(count, strength, draws)).view(-1, 1, 1), images)  # of the box, 0..1
    y = beside(torch.rand(count, 1, 1, generator=draws), images)  # the box's centre, 0..1
    x = beside(torch.rand(count, 1, 1, generator=draws), images)
    rows = ((torch.arange(height, device=images.device) + 0.5) / height).view(1, -1, 1)
    columns = ((torch.arange(width, device=images.device) + 0.5) / width).view(1, 1, -1)
    box = ((rows - y).abs() < side / 2) & ((columns - x).abs() < side / 2)  # (B, H, W)
    other = beside(torch.randperm(count, generator=draws), images)
    images = torch.where(box.unsqueeze(1), images[other], images)
    return images, blended(targets, other, 1 - box.float().mean(dim=(1, 2)))


def blended(targets: Tensor, other: Tensor, share: Tensor) -> Tensor:
    """Each row's own target by `share` (B,), another's by the rest."""
    return targets * share.view(-1, 1) + targets[other] * (1 - share.view(-1, 1))


def beta(count: int, strength: float, draws: torch.Generator) -> Tensor:
    """(count,) numbers of Beta(strength, strength); torch's own Beta takes no generator."""
    numbers = np.random.default_rng(int(torch.randint(2**62, (), generator=draws)))
    return torch.from_numpy(numbers.beta(strength, strength, count).astype(np.float32))
