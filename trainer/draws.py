"""Where random numbers come from: a generator of (seed, epoch, step), on the CPU, so that every device draws the same.

A process that changes a part of a batch alone draws for all of it, and keeps its own: numbers are cheap beside pixels.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class PartDraws:
    """Where a part of a batch draws from: each picture of it draws what it does where the whole batch is changed."""

    generator: torch.Generator
    part: slice  # of the batch
    count: int  # pictures of the whole batch


Draws = torch.Generator | PartDraws


def generator(*numbers: int) -> torch.Generator:
    """A generator that depends on these numbers alone, such as (seed, epoch, step)."""
    words = np.random.SeedSequence(numbers).generate_state(2, np.uint32)
    return torch.Generator().manual_seed(int(words[0]) << 31 | int(words[1]) >> 1)


def drawn(draw: Callable[[int, torch.Generator], Tensor], count: int, draws: Draws) -> Tensor:
    """Numbers for `count` pictures, one a picture in the last dimension; `draw` makes so many from a generator."""
    if isinstance(draws, torch.Generator):
        return draw(count, draws)
    return draw(draws.count, draws.generator)[..., draws.part]


def uniform(count: int, low: float, high: float, draws: Draws) -> Tensor:
    """(count,) numbers between low and high."""
    return drawn(lambda all, source: torch.rand(all, generator=source), count, draws) * (high - low) + low
