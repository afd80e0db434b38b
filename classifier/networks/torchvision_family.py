"""Every classifier of torchvision by name, with a new linear head, and what its published head's rows stand for."""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn

from classifier.networks import torchvision_ops

torchvision_ops.declare()

from torchvision import models  # noqa: E402 - importable only after the declaration above

# What torchvision's classes call the part that gives the last feature map (B, C, h, w), in front of the pooling.
# Transformers give tokens instead, so they have none.
FEATURE_LAYERS = ("features", "layer4", "trunk_output", "blocks")
TOKEN_NETWORKS = (models.VisionTransformer, models.SwinTransformer, models.MaxVit)

# No second head; and the published weights expect pixels as the network itself changes them from ImageNet's mean.
INCEPTION = {"aux_logits": False, "init_weights": True, "transform_input": True}
OLD_NAME = re.compile(r"^(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\.)")  # "norm.1.weight" for "norm1.weight"


@cache
def names() -> tuple[str, ...]:
    """The classifiers of the installed torchvision, such as `mobilenet_v2`."""
    return tuple(models.list_models(module=models))


def create(name: str, *, label_count: int) -> nn.Module:
    """The network with random weights: (B, 3, H, W) -> logits (B, label_count)."""
    extra = INCEPTION if name in ("googlenet", "inception_v3") else {}
    net: nn.Module = models.get_model(name, weights=None, num_classes=label_count, **extra)
    return net


def weights_file(name: str) -> str | None:
    """The name of the file with torchvision's default weights of this network."""
    return Path(models.get_model_weights(name).DEFAULT.url).name


def fetch(name: str) -> Path:
    """That file, from torch's own cache or from where torchvision publishes it; its name holds its digest, which is
    checked. Raises OSError without a network, RuntimeError for another digest.
    """
    url = models.get_model_weights(name).DEFAULT.url
    file = Path(torch.hub.get_dir()) / "checkpoints" / Path(url).name
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(file), file.stem.rpartition("-")[2], progress=False)
    return file


def published(name: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A published state dict with the names that the network has today: DenseNet's were written with other ones."""
    return {OLD_NAME.sub(r"\1\2", tensor): value for tensor, value in state.items()}


def normalization(name: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of the pixels that the published weights expect."""
    transform = models.get_model_weights(name).DEFAULT.transforms()
    return tuple(transform.mean), tuple(transform.std)


def pretrained_labels(name: str) -> tuple[str, ...]:
    """What the rows of the published head stand for, as torchvision's default weights of this network say it."""
    return tuple(models.get_model_weights(name).DEFAULT.meta["categories"])


def feature_layer(net: nn.Module) -> str | None:
    """The name of the part whose output is the last feature map (B, C, h, w), None where there is none."""
    if isinstance(net, TOKEN_NETWORKS):
        return None
    return next((name for name in FEATURE_LAYERS if hasattr(net, name)), None)
