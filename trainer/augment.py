"""Random changes of a whole batch of training pictures at once, drawn from a generator of (seed, epoch, step).

Geometry is one affine map a picture, so that crop, stretch, turn and mirror cost a single resampling.
"""

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from trainer.recipe import Recipe

LUMA = (0.299, 0.587, 0.114)


def generator(*numbers: int) -> torch.Generator:
    """A generator that depends on these numbers alone, such as (seed, epoch, step)."""
    words = np.random.SeedSequence(numbers).generate_state(2, np.uint32)
    return torch.Generator().manual_seed(int(words[0]) << 31 | int(words[1]) >> 1)


def augment(pixels: Tensor, recipe: Recipe, draws: torch.Generator) -> Tensor:
    """uint8 (B, H, W, 3) -> float32 (B, 3, S, S), 0..1, S = recipe.image_size."""
    images = pixels.permute(0, 3, 1, 2).float().div_(255)  # (B, 3, H, W)
    grid = F.affine_grid(
        affine(len(images), recipe, draws), [len(images), 3, recipe.image_size, recipe.image_size], align_corners=False
    )
    images = F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
    return colour(images, recipe.colour, draws)


def affine(count: int, recipe: Recipe, draws: torch.Generator) -> Tensor:
    """One map (2, 3) a picture from output to input coordinates (-1..1): a random resized crop as torchvision draws it
    (area uniform, shape log-uniform), then a turn about the crop's centre and a mirror.
    """
    area = uniform(count, recipe.crop_scale, 1, draws)
    ratio = torch.exp(uniform(count, -math.log(recipe.crop_ratio), math.log(recipe.crop_ratio), draws))
    width = torch.sqrt(area * ratio).clamp(max=1)  # of the picture's
    height = torch.sqrt(area / ratio).clamp(max=1)
    x = uniform(count, -1, 1, draws) * (1 - width)
    y = uniform(count, -1, 1, draws) * (1 - height)
    angle = uniform(count, -recipe.rotation_degrees, recipe.rotation_degrees, draws) * math.pi / 180
    mirror = torch.where(uniform(count, 0, 1, draws) < recipe.flip, -1.0, 1.0)
    rows = [
        torch.stack([width * angle.cos() * mirror, -width * angle.sin(), x], dim=1),
        torch.stack([height * angle.sin() * mirror, height * angle.cos(), y], dim=1),
    ]
    return torch.stack(rows, dim=1)  # (B, 2, 3)


def colour(images: Tensor, strength: float, draws: torch.Generator) -> Tensor:
    """Brightness, contrast and saturation of each picture times 1 - strength .. 1 + strength; (B, 3, H, W), 0..1."""
    if strength == 0:
        return images
    brightness, contrast, saturation = (
        uniform(len(images), 1 - strength, 1 + strength, draws).view(-1, 1, 1, 1) for _ in range(3)
    )
    images = images * brightness
    grey = torch.einsum("bchw,c->bhw", images, torch.tensor(LUMA)).unsqueeze(1)  # (B, 1, H, W)
    images = grey + (images - grey) * saturation
    mean = grey.mean(dim=(2, 3), keepdim=True)
    return (mean + (images - mean) * contrast).clamp_(0, 1)


def mixup(images: Tensor, targets: Tensor, strength: float, draws: torch.Generator) -> tuple[Tensor, Tensor]:
    """Each picture blended with another of the batch, targets (B, K) alike (Zhang et al. 2018, arXiv:1710.09412)."""
    if strength == 0:
        return images, targets
    numpy_draws = np.random.default_rng(
        int(torch.randint(2**62, (), generator=draws))
    )  # torch's Beta takes no generator
    share = torch.from_numpy(numpy_draws.beta(strength, strength, len(images)).astype(np.float32))
    share = torch.maximum(share, 1 - share)
    other = torch.randperm(len(images), generator=draws)
    picture_share = share.view(-1, 1, 1, 1)
    images = images * picture_share + images[other] * (1 - picture_share)
    return images, targets * share.view(-1, 1) + targets[other] * (1 - share.view(-1, 1))


def uniform(count: int, low: float, high: float, draws: torch.Generator) -> Tensor:
    """(count,) numbers between low and high."""
    return torch.rand(count, generator=draws) * (high - low) + low
