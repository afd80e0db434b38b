"""Every classifier of timm, named `timm-` and its name there, for several bear the name of another of torchvision's.

timm takes seconds to import, so it is imported by the functions that need it, never with this module.
"""

from functools import cache
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from classifier.networks import torchvision_ops

PREFIX = "timm-"


@cache
def names() -> tuple[str, ...]:
    """The classifiers of the installed timm, such as `timm-convnext_atto`; those with two heads, which are made for
    distillation, are left out.
    """
    timm = _timm()
    return tuple(
        PREFIX + name
        for name in timm.list_models()
        if not isinstance(getattr(timm.get_pretrained_cfg(name), "classifier", None), tuple)
    )


def create(name: str, *, label_count: int) -> nn.Module:
    """The network with random weights: (B, 3, H, W) -> logits (B, label_count)."""
    net: nn.Module = _timm().create_model(name.removeprefix(PREFIX), pretrained=False, num_classes=label_count)
    return net


def feature_layer(net: nn.Module) -> str | None:
    """The name of the part whose output is the last feature map (B, C, h, w), None where there is none, as in networks
    of tokens or of maps that have their channels last.
    """
    stages: Any = getattr(net, "feature_info", None)
    if not stages:
        return None
    last = list(stages)[-1]
    layer = last["module"]
    if layer not in dict(net.named_modules()):
        return None
    outputs: list[Any] = []
    hook = net.get_submodule(layer).register_forward_hook(lambda _part, _inputs, output: outputs.append(output))
    training = net.training
    try:
        with torch.no_grad():
            net.eval()(torch.zeros(1, *net.default_cfg["input_size"], device=next(net.parameters()).device))  # type: ignore[index]
    finally:
        hook.remove()
        net.train(training)
    is_map = len(outputs) == 1 and isinstance(outputs[0], Tensor) and outputs[0].ndim == 4
    return layer if is_map and outputs[0].shape[1] == last["num_chs"] else None


def _timm() -> ModuleType:
    torchvision_ops.declare()
    import timm

    return timm
