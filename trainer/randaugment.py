"""RandAugment (Cubuk et al. 2020, arXiv:1909.13719) on a batch: each picture draws its own operations.

The operations and how strong each is are torchvision's, applied at once to all pictures that drew the same.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from classifier.networks import torchvision_ops
from trainer.draws import Draws, drawn, uniform

torchvision_ops.declare()

from torchvision.transforms.v2 import functional as F  # noqa: E402 - importable only after the declaration above

MAGNITUDES = 30
Operation = Callable[[Tensor, float], Tensor]  # uint8 (B, 3, H, W) and the magnitude with its sign


def randaugment(images: Tensor, operations: int, magnitude: int, draws: Draws) -> Tensor:
    """`operations` random changes of each picture in a row; `magnitude` of 30. uint8 (B, 3, H, W), the same."""
    for _ in range(operations):
        kinds = drawn(lambda all, source: torch.randint(len(OPERATIONS), (all,), generator=source), len(images), draws)
        positive = uniform(len(images), 0, 1, draws) > 0.5
        changed = images.clone()
        for number, name in enumerate(OPERATIONS):
            for sign in (1, -1):
                chosen = ((kinds == number) & (positive == (sign == 1))).nonzero().squeeze(1)
                if len(chosen):
                    chosen = chosen.to(images.device, non_blocking=True)
                    changed[chosen] = apply(name, images[chosen], magnitude, sign)
        images = changed
    return images


def apply(name: str, images: Tensor, magnitude: int, sign: int) -> Tensor:
    """One operation on uint8 (B, 3, H, W); the sign counts where an operation has two directions."""
    operation, strongest = OPERATIONS[name]
    return operation(images, sign * strongest * magnitude / MAGNITUDES)


def _affine(images: Tensor, *, x: int = 0, y: int = 0, shear: tuple[float, float] | None = None) -> Tensor:
    degrees = [math.degrees(math.atan(tangent)) for tangent in shear or (0.0, 0.0)]
    centre = [0.0, 0.0] if shear else None
    changed: Tensor = F.affine(images, angle=0.0, translate=[x, y], scale=1.0, shear=degrees, center=centre)
    return changed


OPERATIONS: dict[str, tuple[Operation, float]] = {  # with the strongest magnitude
    "Identity": (lambda images, _: images, 0),
    "ShearX": (lambda images, size: _affine(images, shear=(size, 0.0)), 0.3),
    "ShearY": (lambda images, size: _affine(images, shear=(0.0, size)), 0.3),
    "TranslateX": (lambda images, size: _affine(images, x=int(size * images.shape[-1])), 150 / 331),
    "TranslateY": (lambda images, size: _affine(images, y=int(size * images.shape[-2])), 150 / 331),
    "Rotate": (lambda images, size: F.rotate(images, size), 30),
    "Brightness": (lambda images, size: F.adjust_brightness(images, 1 + size), 0.9),
    "Color": (lambda images, size: F.adjust_saturation(images, 1 + size), 0.9),
    "Contrast": (lambda images, size: F.adjust_contrast(images, 1 + size), 0.9),
    "Sharpness": (lambda images, size: F.adjust_sharpness(images, 1 + size), 0.9),
    "Posterize": (lambda images, size: F.posterize(images, 8 - round(abs(size))), 4),
    "Solarize": (lambda images, size: F.solarize(images, 255 * (1 - abs(size))), 1),
    "AutoContrast": (lambda images, _: F.autocontrast(images), 0),
    "Equalize": (lambda images, _: F.equalize(images), 0),
}
