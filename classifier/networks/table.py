"""What a network is made of, layer by layer, for so many labels and pictures of such a size.

    python -m classifier.networks.table '{"name": "resnet18", "head": {"kind": "linear"}}' --labels 10 --size 64
    python -m classifier.networks.table --keep > classifier/networks/tables.json

The first prints one table as JSON, for those who may not import torch; the second all that are kept as data. Nothing is
computed: the network runs on torch's meta device, on shapes alone.
"""

import argparse
import dataclasses
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

import torch
from torch import Tensor, nn

from classifier.networks import catalogue, parts


class SizeError(ValueError):
    """Pictures of a size that a network cannot take."""


@dataclass(frozen=True)
class Layer:
    """One row; `output` is a shape without the batch, None for a layer that an answer does not pass through."""

    name: str
    kind: str
    output: tuple[int, ...] | None
    parameters: int
    trainable: int


@dataclass(frozen=True)
class Table:
    """A whole network; `statistics` are batch norm's means and variances, which no step changes but training moves."""

    architecture: Mapping[str, Any]
    label_count: int
    image_size: int
    layers: tuple[Layer, ...]
    parameters: int
    trainable: int
    statistics: int
    weights_file: str | None  # the library's name of its published weights

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values; a layer is a row [name, kind, output, parameters, trainable]."""
        rows = [[*dataclasses.astuple(layer)] for layer in self.layers]
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)} | {"layers": rows}


def table(
    architecture: Mapping[str, Any],
    *,
    label_count: int,
    image_size: int,
    trainable: parts.Trainable = "all",
    last_blocks: int = 1,
) -> Table:
    """Raises UnknownArchitecture, HeadError, SizeError or NotImplementedError (see `trace`)."""
    net = shapes(architecture, label_count=label_count)
    parts.freeze(net, trainable, last_blocks=last_blocks)
    outputs = trace(net, architecture["name"], image_size)
    layers, seen = [], set()
    for name in [*outputs, *units(net)]:  # in the order of the first call, then those that are not called
        if name in seen:
            continue
        seen.add(name)
        part = net.get_submodule(name)
        layers.append(row(name, type(part).__name__, outputs.get(name), list(part.parameters())))
    for name, parameter in net.named_parameters():  # those of no layer, such as a class token
        if not any(name.startswith(f"{unit}.") for unit in seen):
            layers.append(row(name, "Parameter", tuple(parameter.shape), [parameter]))
    return Table(
        architecture=architecture,
        label_count=label_count,
        image_size=image_size,
        layers=tuple(layers),
        parameters=sum(parameter.numel() for parameter in net.parameters()),
        trainable=sum(parameter.numel() for parameter in net.parameters() if parameter.requires_grad),
        statistics=sum(buffer.numel() for name, buffer in net.named_buffers() if "running_" in name),
        weights_file=catalogue.weights_file(architecture["name"]),
    )


def row(name: str, kind: str, output: tuple[int, ...] | None, parameters: list[nn.Parameter]) -> Layer:
    return Layer(
        name=name,
        kind=kind,
        output=output,
        parameters=sum(parameter.numel() for parameter in parameters),
        trainable=sum(parameter.numel() for parameter in parameters if parameter.requires_grad),
    )


def shapes(architecture: Mapping[str, Any], *, label_count: int) -> nn.Module:
    """The network on the meta device; where it computes with its own tensors when it is made, it is made on the CPU
    and loses them.
    """
    try:
        with torch.device("meta"):
            return catalogue.create(architecture, label_count=label_count)
    except (RuntimeError, NotImplementedError):
        return catalogue.create(architecture, label_count=label_count).to("meta")


def units(net: nn.Module) -> list[str]:
    """The modules that are one row: those without children, and attention, which never calls its own."""
    attention = [name for name, part in net.named_modules() if isinstance(part, nn.MultiheadAttention)]
    return [
        name
        for name, part in net.named_modules()
        if name in attention
        or (next(part.children(), None) is None and not any(name.startswith(f"{above}.") for above in attention))
    ]


def trace(net: nn.Module, name: str, image_size: int) -> dict[str, tuple[int, ...]]:
    """The shape of each unit's output without the batch, in the order of their first calls. Raises SizeError, or
    NotImplementedError for a network that looks at values to find its shapes.
    """
    outputs: dict[str, tuple[int, ...]] = {}

    def remember(unit: str, output: Any) -> None:
        first = output[0] if isinstance(output, tuple | list) else output
        if isinstance(first, Tensor):
            outputs.setdefault(unit, tuple(first.shape[1:]))

    for unit in units(net):
        net.get_submodule(unit).register_forward_hook(lambda _part, _inputs, output, unit=unit: remember(unit, output))
    try:
        with torch.no_grad():
            net.eval()(torch.zeros(1, 3, image_size, image_size, device="meta"))
    except (ValueError, RuntimeError, AssertionError, IndexError, ZeroDivisionError) as error:
        if isinstance(error, NotImplementedError) or "meta tensor" in str(error):
            raise NotImplementedError(f"{name} computes what cannot be told from shapes alone: {error}") from error
        raise SizeError(
            f"{name} cannot take pictures of {image_size}x{image_size} pixels: {str(error).splitlines()[0]}"
        ) from error
    return outputs


# The networks that people look up by name, with the labels and the size that they are known for.
VGG_HEAD = {"kind": "dense", "layers": [512, 256, 128], "dropout": 0.1}
RESNET_HEAD = {"kind": "dense", "layers": [800], "dropout": 0.35}
LINEAR = {"kind": "linear"}
KEPT: tuple[tuple[str, dict[str, Any], int, int], ...] = (
    ("resnet9", LINEAR, 10, 32),
    ("resnet18_32px", LINEAR, 10, 32),
    ("plain_cnn", LINEAR, 10, 128),
    ("vgg16", VGG_HEAD, 10, 224),
    ("resnet152", RESNET_HEAD, 120, 224),
    ("deepnet", LINEAR, 100, 32),
    ("resnet18", LINEAR, 100, 224),
    ("mobilenet_v2", LINEAR, 120, 224),
)


def kept() -> list[dict[str, Any]]:
    """Their tables."""
    return [
        table({"name": name, "head": head}, label_count=labels, image_size=size).as_dict()
        for name, head, labels, size in KEPT
    ]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m classifier.networks.table")
    parser.add_argument("architecture", nargs="?", type=json.loads, help="as an artifact's spec names it, as JSON")
    parser.add_argument("--labels", type=int, default=10)
    parser.add_argument("--size", type=int, default=224, help="side of the pictures in pixels")
    parser.add_argument("--trainable", choices=get_args(parts.Trainable), default="all")
    parser.add_argument("--last-blocks", type=int, default=1)
    parser.add_argument("--keep", action="store_true", help="the tables that are kept as data")
    arguments = parser.parse_args()
    if arguments.keep:
        sys.stdout.write("[\n" + ",\n".join(json.dumps(one) for one in kept()) + "\n]\n")
        return
    try:
        found = table(
            arguments.architecture,
            label_count=arguments.labels,
            image_size=arguments.size,
            trainable=arguments.trainable,
            last_blocks=arguments.last_blocks,
        )
    except (catalogue.UnknownArchitecture, parts.HeadError, SizeError, NotImplementedError) as error:
        sys.exit(str(error))
    sys.stdout.write(json.dumps(found.as_dict()) + "\n")


if __name__ == "__main__":
    main()
