"""Labels with few photos: let them weigh more in the loss, or be drawn more often."""

import torch
from torch import Tensor


def weights(labels: Tensor, label_count: int) -> Tensor:
    """(N,) -> (K,): what each label weighs: N / (K * its photos), so that the mean photo weighs 1."""
    photos = torch.bincount(labels, minlength=label_count).clamp_(min=1)
    return len(labels) / (label_count * photos.float())


def order(labels: Tensor, balance: str, draws: torch.Generator) -> Tensor:
    """The indices (N,) of an epoch's photos in their order: every photo once, or for "oversampling" as many draws
    with replacement in which every label is as likely as another.
    """
    if balance != "oversampling":
        return torch.randperm(len(labels), generator=draws)
    chances = weights(labels, int(labels.max()) + 1)[labels]
    return torch.multinomial(chances, len(labels), replacement=True, generator=draws)
