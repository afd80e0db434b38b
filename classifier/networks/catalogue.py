"""The architectures by name, whichever family they are of. This folder is the only place where one is named.

A new family: write one file with `names`, `create`, `pretrained_labels`, `head` and `feature_layer`, add it to
FAMILIES, and write the names anew into names.txt, which those read who may not import torch.
"""

from collections.abc import Mapping
from difflib import get_close_matches
from types import ModuleType
from typing import Any

from torch import nn

from classifier.networks import torchvision_family

FAMILIES: tuple[ModuleType, ...] = (torchvision_family,)


class UnknownArchitecture(ValueError):
    """A name that no family knows; the sentence names the nearest ones."""


def family(name: str) -> ModuleType:
    """The family that knows `name`; raises UnknownArchitecture."""
    for candidate in FAMILIES:
        if name in candidate.names():
            return candidate
    near = get_close_matches(name, names(), n=3, cutoff=0.4)
    hint = f" Did you mean {', '.join(near)}?" if near else ""
    raise UnknownArchitecture(f"There is no architecture named {name!r}.{hint}")


def names() -> tuple[str, ...]:
    """Every architecture of every family."""
    return tuple(name for candidate in FAMILIES for name in candidate.names())


def create(architecture: Mapping[str, Any], *, label_count: int) -> nn.Module:
    """The network that `architecture` describes as an artifact's spec does, with random weights.

    {"name": "mobilenet_v2", "head": {"kind": "linear"}} -> (B, 3, H, W) -> logits (B, label_count).
    """
    kind = architecture.get("head", {}).get("kind")
    if kind != "linear":
        raise UnknownArchitecture(f"There is no head of kind {kind!r}: the kind is 'linear'.")
    name = str(architecture.get("name"))
    net: nn.Module = family(name).create(name, label_count=label_count)
    return net
