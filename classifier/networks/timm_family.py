"""Every classifier of timm, named `timm-` and its name there, for several bear the name of another of torchvision's.

timm takes seconds to import, so it is imported by the functions that need it, never with this module.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from classifier.networks import torchvision_ops

PREFIX = "timm-"


@cache
def names() -> tuple[str, ...]:
    """The classifiers of the installed timm, such as `timm-convnext_atto`; left out are those with two heads, made
    for distillation, and the encoders of language models, which have none.
    """
    timm = _timm()
    return tuple(
        PREFIX + name
        for name in timm.list_models()
        if not name.endswith("_enc")
        and not isinstance(getattr(timm.get_pretrained_cfg(name), "classifier", None), tuple)
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


def weights_file(name: str) -> str | None:
    """A name for the file with timm's default weights of this network: timm's own calls every one model.safetensors."""
    config = _timm().get_pretrained_cfg(name.removeprefix(PREFIX))
    return f"{config.hf_hub_id.partition('/')[2]}.safetensors" if config.hf_hub_id else None


def fetch(name: str) -> Path:
    """That file, from the cache that timm uses or from where it publishes it. Raises OSError without a network."""
    from huggingface_hub import hf_hub_download

    config = _timm().get_pretrained_cfg(name.removeprefix(PREFIX))
    return Path(hf_hub_download(config.hf_hub_id, "model.safetensors"))


def published(name: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A published state dict with the names that the network has today, as timm's own loading finds them."""
    overlay = {"state_dict": dict(state), "custom_load": False}
    net: nn.Module = _timm().create_model(name.removeprefix(PREFIX), pretrained=True, pretrained_cfg_overlay=overlay)
    return net.state_dict()


def normalization(name: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of the pixels that the published weights expect."""
    config = _timm().get_pretrained_cfg(name.removeprefix(PREFIX))
    return tuple(config.mean), tuple(config.std)


def pretrained_labels(name: str) -> tuple[str, ...]:
    """What the rows of the published head stand for where they are ImageNet's, otherwise nothing."""
    timm = _timm()
    from timm.data import ImageNetInfo, infer_imagenet_subset

    subset = infer_imagenet_subset(timm.get_pretrained_cfg(name.removeprefix(PREFIX)).to_dict())
    if subset is None:
        return ()
    info = ImageNetInfo(subset)
    return tuple(info.index_to_description(index) for index in range(info.num_classes()))


def _timm() -> ModuleType:
    torchvision_ops.declare()
    import timm

    return timm
