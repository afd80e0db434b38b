"""Random changes of a whole batch of training pictures at once, drawn from a generator of (seed, epoch, step).

A crop of the photo's own size and a mirror move pixels as they are. All other geometry is one affine map a picture, so
that crop, stretch, turn, shift, zoom and mirror cost a single resampling. The pictures may lie on a GPU; the draws are
made on the CPU all the same, so that every device sees the same changes.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from trainer.draws import Draws, drawn, uniform
from trainer.randaugment import randaugment
from trainer.recipe import Recipe

LUMA = (0.299, 0.587, 0.114)


def beside(numbers: Tensor, images: Tensor) -> Tensor:
    """Numbers drawn on the CPU, where the pictures are; nobody waits for the copy."""
    return numbers.to(images.device, non_blocking=True)


def augment(pixels: Tensor, recipe: Recipe, draws: Draws) -> Tensor:
    """uint8 (B, H, W, 3) -> float32 (B, 3, S, S), 0..1, S = recipe.image_size."""
    whole = padded_crop(pixels.permute(0, 3, 1, 2), recipe.crop_padding, draws)  # uint8 (B, 3, H, W)
    size = [len(whole), 3, recipe.image_size, recipe.image_size]
    if resamples(recipe) or list(whole.shape) != size:
        grid = F.affine_grid(beside(affine(len(whole), recipe, draws), whole), size, align_corners=False)
        images = F.grid_sample(whole.float().div_(255), grid, padding_mode="reflection", align_corners=False)
    else:
        mirror = beside(uniform(len(whole), 0, 1, draws) < recipe.flip, whole)
        images = torch.where(mirror.view(-1, 1, 1, 1), whole.flip(3), whole).float().div_(255)
    if recipe.randaugment_operations:
        levels = images.mul(255).round_().clamp_(0, 255).to(torch.uint8)
        levels = randaugment(levels, recipe.randaugment_operations, recipe.randaugment_magnitude, draws)
        images = levels.float().div_(255)
    return colour(images, recipe.colour, draws)


def resamples(recipe: Recipe) -> bool:
    """Whether a recipe changes a picture's geometry by more than whole pixels and a mirror."""
    still = recipe.crop_scale == recipe.crop_ratio == 1
    return not still or any((recipe.rotation_degrees, recipe.shift, recipe.zoom))


def padded_crop(images: Tensor, padding: int, draws: Draws) -> Tensor:
    """(B, 3, H, W) with `padding` mirrored pixels on each side, then one random crop (H, W) of each picture."""
    if padding == 0:
        return images
    count, _, height, width = images.shape
    padded = F.pad(images.float(), [padding] * 4, mode="reflect").to(images.dtype)  # torch pads no uint8
    place = images.device
    places = drawn(lambda all, source: torch.randint(2 * padding + 1, (2, all), generator=source), count, draws)
    top, left = beside(places, images)
    rows = (top.view(-1, 1) + torch.arange(height, device=place)).view(count, 1, height, 1)
    columns = (left.view(-1, 1) + torch.arange(width, device=place)).view(count, 1, 1, width)
    pictures = torch.arange(count, device=place).view(-1, 1, 1, 1)
    return padded[pictures, torch.arange(3, device=place).view(1, 3, 1, 1), rows, columns]


def affine(count: int, recipe: Recipe, draws: Draws) -> Tensor:
    """One map (2, 3) a picture from output to input coordinates (-1..1): a random resized crop as torchvision draws it
    (area uniform, shape log-uniform), zoomed and shifted, then a turn about the crop's centre and a mirror.
    """
    area = uniform(count, recipe.crop_scale, 1, draws)
    ratio = torch.exp(uniform(count, -math.log(recipe.crop_ratio), math.log(recipe.crop_ratio), draws))
    width = torch.sqrt(area * ratio).clamp(max=1)  # of the picture's
    height = torch.sqrt(area / ratio).clamp(max=1)
    x = uniform(count, -1, 1, draws) * (1 - width)
    y = uniform(count, -1, 1, draws) * (1 - height)
    angle = uniform(count, -recipe.rotation_degrees, recipe.rotation_degrees, draws) * math.pi / 180
    mirror = torch.where(uniform(count, 0, 1, draws) < recipe.flip, -1.0, 1.0)
    if recipe.zoom:
        zoom = uniform(count, 1 - recipe.zoom, 1 + recipe.zoom, draws)
        width, height = width * zoom, height * zoom
    if recipe.shift:
        x = x + 2 * uniform(count, -recipe.shift, recipe.shift, draws)
        y = y + 2 * uniform(count, -recipe.shift, recipe.shift, draws)
    rows = [
        torch.stack([width * angle.cos() * mirror, -width * angle.sin(), x], dim=1),
        torch.stack([height * angle.sin() * mirror, height * angle.cos(), y], dim=1),
    ]
    return torch.stack(rows, dim=1)  # (B, 2, 3)


def colour(images: Tensor, strength: float, draws: Draws) -> Tensor:
    """Brightness, contrast and saturation of each picture times 1 - strength .. 1 + strength; (B, 3, H, W), 0..1."""
    if strength == 0:
        return images
    brightness, contrast, saturation = (
        beside(uniform(len(images), 1 - strength, 1 + strength, draws).view(-1, 1, 1, 1), images) for _ in range(3)
    )
    images = images * brightness
    grey = torch.einsum("bchw,c->bhw", images, beside(torch.tensor(LUMA), images)).unsqueeze(1)  # (B, 1, H, W)
    images = grey + (images - grey) * saturation
    mean = grey.mean(dim=(2, 3), keepdim=True)
    return (mean + (images - mean) * contrast).clamp_(0, 1)
