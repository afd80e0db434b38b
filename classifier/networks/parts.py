"""The parts of a network: its head, its blocks, and which of them learn. The same for every family."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from torch import nn

Trainable = Literal["all", "last blocks", "head"]

# Children that are no block of their own but hold the blocks, as torchvision and timm name them.
HOLDERS = ("features", "blocks", "stages", "layers", "encoder", "trunk_output", "body")
NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm)
POOLS = (nn.MaxPool2d, nn.AvgPool2d)


class HeadError(ValueError):
    """A description of a head that nothing can be built from, or a network that cannot bear it."""


class DenseHead(nn.Sequential):
    """Hidden layers with ReLU, each followed by dropout, then one output a label: (B, D) -> logits (B, K)."""

    def __init__(self, features: int, layers: Sequence[int], label_count: int, *, dropout: float) -> None:
        parts: list[nn.Module] = []
        for width in layers:
            parts += [nn.Linear(features, width), nn.ReLU(), nn.Dropout(dropout)]
            features = width
        super().__init__(*parts, nn.Linear(features, label_count))


def put_head(net: nn.Module, description: Mapping[str, Any], *, label_count: int) -> nn.Module:
    """`net`, whose head is linear, with the head of an artifact's spec: {"kind": "linear"} leaves it as it is,
    {"kind": "dense", "layers": [800], "dropout": 0.35} replaces it and every dense layer straight before it, as in
    VGG. Raises HeadError.
    """
    kind = description.get("kind")
    if kind == "linear":
        return net
    if kind != "dense":
        raise HeadError(f"There is no head of kind {kind!r}: the kind is 'linear' or 'dense'.")
    layers, dropout = description.get("layers"), description.get("dropout", 0.0)
    if not isinstance(layers, list | tuple) or not layers or not all(_is_width(width) for width in layers):
        raise HeadError(f"The layers of a dense head are one or more whole numbers from 1 to 65536, not {layers!r}.")
    if isinstance(dropout, bool) or not isinstance(dropout, int | float) or not 0 <= dropout < 1:
        raise HeadError(f"The dropout of a dense head is a number from 0 to below 1, not {dropout!r}.")
    name = head(net)
    holder_name = name.rpartition(".")[0]
    holder = net.get_submodule(holder_name)
    old = net.get_submodule(name)
    if isinstance(old, nn.Conv2d) and not isinstance(holder, nn.Sequential):
        raise HeadError("The head of this network is a convolution: it can be linear only.")
    if isinstance(old, nn.Conv2d):  # SqueezeNet: a convolution and an average over the picture
        dense = DenseHead(old.in_channels, layers, label_count, dropout=dropout)
        net.set_submodule(holder_name, nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), dense))
        return net
    assert isinstance(old, nn.Linear)
    if not isinstance(holder, nn.Sequential):
        net.set_submodule(name, DenseHead(old.in_features, layers, label_count, dropout=dropout))
        return net
    kept: list[nn.Module] = []
    for part in holder:
        if isinstance(part, nn.Linear):
            break
        kept.append(part)
    first = holder[len(kept)]
    assert isinstance(first, nn.Linear)
    kept.append(DenseHead(first.in_features, layers, label_count, dropout=dropout))
    net.set_submodule(holder_name, nn.Sequential(*kept))
    return net


def head(net: nn.Module) -> str:
    """The name of the head: the dense one, or what timm declares, or the last layer, which has one output a label."""
    modules = dict(net.named_modules())
    dense = [name for name, part in modules.items() if isinstance(part, DenseHead)]
    declared = (getattr(net, "default_cfg", None) or {}).get("classifier")
    if not dense and declared in modules and _is_layer(modules[declared]):
        return str(declared)
    return dense[0] if dense else [name for name, part in modules.items() if _is_layer(part)][-1]


def blocks(net: nn.Module) -> list[list[str]]:
    """The names of the modules of each block in front of the head, first block first.

    A block is a module such as a residual stage; of plain layers in a row, those up to the next pooling. A norm
    belongs to the block before it.
    """
    groups: list[list[str]] = []
    open_row = False  # whether plain layers that follow join the last group
    for name, part in _sequence(net, head(net)):
        if not any(True for _ in part.parameters()):
            open_row = open_row and not isinstance(part, POOLS)
        elif _is_plain(part) and groups and (open_row or isinstance(part, NORMS)):
            groups[-1].append(name)
        else:
            groups.append([name])
            open_row = _is_plain(part)
    return groups


def freeze(net: nn.Module, trainable: Trainable, *, last_blocks: int = 1) -> list[nn.Module]:
    """Let only the head learn, or it and the last blocks with all that lies between, or everything.

    Returns the frozen modules, those that neither learn nor hold what learns: kept in evaluation mode (`.eval()`) while
    the rest trains, their batch-norm statistics stand still as well.
    """
    if trainable == "all":
        return []
    learning = [head(net)]
    if trainable == "last blocks":
        learning = [learning[0].partition(".")[0], *(name for block in blocks(net)[-last_blocks:] for name in block)]
    for name, parameter in net.named_parameters():
        parameter.requires_grad_(_within(name, learning))
    return [
        part
        for name, part in net.named_modules()
        if not _within(name, learning) and not any(not name or _within(one, [name]) for one in learning)
    ]


def _sequence(net: nn.Module, head_name: str, prefix: str = "") -> list[tuple[str, nn.Module]]:
    """The modules in front of the head in their order, holders opened."""
    found: list[tuple[str, nn.Module]] = []
    for child, part in net.named_children():
        name = f"{prefix}{child}"
        if name == head_name or head_name.startswith(f"{name}."):
            continue
        if child in HOLDERS and next(part.children(), None) is not None:
            found += _sequence(part, head_name, f"{name}.")
        else:
            found.append((name, part))
    return found


def _within(name: str, modules: Sequence[str]) -> bool:
    return any(name == module or name.startswith(f"{module}.") for module in modules)


def _is_layer(part: nn.Module) -> bool:
    return isinstance(part, nn.Linear | nn.Conv2d)


def _is_plain(part: nn.Module) -> bool:
    return _is_layer(part) or isinstance(part, NORMS)


def _is_width(width: Any) -> bool:
    return isinstance(width, int) and not isinstance(width, bool) and 1 <= width <= 65_536
