"""torch on the device that a training was given."""

import dataclasses
import logging

import torch
from torch import Tensor

from trainer.data import Photos
from trainer.recipe import Recipe

log = logging.getLogger(__name__)

SHARE = 0.5  # of a GPU's free memory that photos may take; the rest is for the network


def ready(name: str) -> torch.device:
    """The device of that name; the processor, with a warning, where it has gone."""
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        log.warning("There is no %s any more: this training goes on on the processor.", name)
        return torch.device("cpu")
    return device


def settle(device: torch.device) -> None:
    """On the processor the same numbers on the same machine, torch build and number of threads, or an error; on a GPU
    the fastest kernels."""
    torch.use_deterministic_algorithms(device.type == "cpu")
    # Costs time, and nothing here reads such memory.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = device.type == "cuda"


def resident(photos: Photos, device: torch.device) -> Photos:
    """The photos, uint8, in a GPU's own memory where they fit beside a network; else batches of them are pinned."""
    if device.type == "cpu":
        return photos
    free, _ = torch.cuda.mem_get_info(device)
    size = photos.pixels.nbytes
    if size <= SHARE * free:
        return dataclasses.replace(photos, pixels=photos.pixels.to(device))
    log.info("%d MB of photos stay in the main memory: %d MB of the GPU's are free", size // 10**6, free // 10**6)
    return dataclasses.replace(photos, pinned=True)


def describe(device: torch.device) -> str:
    """A GPU as a card names it."""
    return f"{torch.cuda.get_device_name(device)}, CUDA {torch.version.cuda}"


def in_bfloat16(recipe: Recipe, device: torch.device) -> bool:
    """Whether the forward pass computes in bfloat16: where the recipe says so, or leaves it to a GPU that can."""
    if recipe.precision == "auto":
        return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return recipe.precision == "bfloat16"


def channels_last(images: Tensor) -> Tensor:
    """Pictures (B, 3, H, W) in the order of memory that convolutions are fastest with; features as they are."""
    return images.contiguous(memory_format=torch.channels_last) if images.ndim == 4 else images
