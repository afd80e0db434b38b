"""The architectures by name, whichever family they are of. This folder is the only place where one is named.

A new family: write one file with `names`, `create`, `feature_layer` and `weights_file`, add it to FAMILIES, and write
names.txt anew as classifier/architectures.py says, for those who may not import torch. Where there are published
weights, write `fetch`, `published`, `normalization` and `pretrained_labels` as well.
"""

from collections.abc import Mapping
from difflib import get_close_matches
from types import ModuleType
from typing import Any

from torch import nn

from classifier.networks import parts, plain_nets, small_resnets, timm_family, torchvision_family

# timm last: its names are known only after an import of seconds, which no other network needs.
FAMILIES: tuple[ModuleType, ...] = (small_resnets, plain_nets, torchvision_family, timm_family)


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
    Raises UnknownArchitecture or parts.HeadError.
    """
    name = str(architecture.get("name"))
    net: nn.Module = family(name).create(name, label_count=label_count)
    return parts.put_head(net, architecture.get("head", {}), label_count=label_count)


def weights_file(name: str) -> str | None:
    """The library's name of the file with the published weights of a network, None where there are none."""
    found: str | None = family(name).weights_file(name)
    return found
