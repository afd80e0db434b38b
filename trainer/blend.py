"""Between the weights that a training started from and those it ended with.

A pretrained backbone knows more than the training photos can teach again, and fine-tuning forgets some of it. Weights
part of the way from start to end often answer better than either, on photos of other origin most of all (Wortsman et
al. 2022, arXiv:2109.01903). Validation chooses how far.
"""

from collections.abc import Callable, Mapping

from torch import Tensor

SHARES = (0.25, 0.5, 0.75, 1.0)  # 1 is the end of the training


def blend(start: Mapping[str, Tensor], end: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """The state dict that lies `share` of the way from `start` to `end`; whole numbers are taken from the end."""
    return {
        name: start[name].lerp(tensor, share) if tensor.is_floating_point() else tensor for name, tensor in end.items()
    }


def choose(measure: Callable[[float], float]) -> dict[float, float]:
    """What `measure` (a validation loss) says of every share; the best one first."""
    losses = {share: measure(share) for share in SHARES}
    return dict(sorted(losses.items(), key=lambda item: item[1]))
