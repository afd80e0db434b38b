"""Every classifier of torchvision by name, with a new linear head, and what its published head's rows stand for."""

from functools import cache

from torch import nn

from classifier.networks import torchvision_ops

torchvision_ops.declare()

from torchvision import models  # noqa: E402 - importable only after the declaration above

# What torchvision's classes call the part that gives the last feature map (B, C, h, w), in front of the pooling.
# Transformers give tokens instead, so they have none.
FEATURE_LAYERS = ("features", "layer4", "trunk_output", "blocks")
TOKEN_NETWORKS = (models.VisionTransformer, models.SwinTransformer, models.MaxVit)


@cache
def names() -> tuple[str, ...]:
    """The classifiers of the installed torchvision, such as `mobilenet_v2`."""
    return tuple(models.list_models(module=models))


def create(name: str, *, label_count: int) -> nn.Module:
    """The network with random weights: (B, 3, H, W) -> logits (B, label_count)."""
    extra = {"aux_logits": False, "init_weights": True} if name in ("googlenet", "inception_v3") else {}
    net: nn.Module = models.get_model(name, weights=None, num_classes=label_count, **extra)
    return net


def pretrained_labels(name: str) -> tuple[str, ...]:
    """What the rows of the published head stand for, as torchvision's default weights of this network say it."""
    return tuple(models.get_model_weights(name).DEFAULT.meta["categories"])


def feature_layer(net: nn.Module) -> str | None:
    """The name of the part whose output is the last feature map (B, C, h, w), None where there is none."""
    if isinstance(net, TOKEN_NETWORKS):
        return None
    return next((name for name in FEATURE_LAYERS if hasattr(net, name)), None)
