import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from torch import nn

from classifier.networks import catalogue, parts, torchvision_family, torchvision_ops

pytestmark = pytest.mark.alone

LINEAR = {"kind": "linear"}


def test_torchvision_can_be_imported_after_the_declaration_and_a_second_one_changes_nothing():
    assert torchvision_ops.declare() is torchvision_ops.declare()
    assert "torchvision" in sys.modules
    assert hasattr(torch.ops.torchvision, "nms")


def test_the_operators_are_left_alone_where_the_compiled_ones_load(monkeypatch):
    monkeypatch.setattr(torchvision_ops, "_compiled_operators_load", lambda: True)
    assert torchvision_ops.declare.__wrapped__() is None


def test_the_names_kept_as_data_are_those_of_the_libraries():
    kept = Path(catalogue.__file__).with_name("names.txt").read_text().split()
    assert kept == sorted(catalogue.names())


def test_it_makes_a_network_with_one_output_a_label():
    net = catalogue.create({"name": "mobilenet_v2", "head": LINEAR}, label_count=7)
    assert net(torch.zeros(2, 3, 32, 32)).shape == (2, 7)
    assert sum(p.numel() for p in net.parameters()) == 2_223_872 + 1280 * 7 + 7  # torchvision's backbone, new head


def without_memory(name: str) -> nn.Module:
    """The network with its shapes alone; a RegNet computes its shapes with tensors, so it is built as it is."""
    with nullcontext() if name.startswith("regnet") else torch.device("meta"):
        return torchvision_family.create(name, label_count=7)


SMALL = [name for name in torchvision_family.names() if not name.startswith("regnet") or name.endswith("_400mf")]


@pytest.mark.parametrize("name", SMALL)
def test_the_head_of_every_architecture_is_the_layer_with_one_output_a_label(name: str):
    net = without_memory(name)
    head = net.get_submodule(parts.head(net))
    assert (head.out_features if isinstance(head, nn.Linear) else head.out_channels) == 7


@pytest.mark.parametrize(
    ("name", "shape"), [("mobilenet_v2", (2, 1280, 1, 1)), ("resnet18", (2, 512, 1, 1)), ("regnet_y_400mf", None)]
)
def test_the_last_feature_map_has_height_and_width(name: str, shape):
    net = torchvision_family.create(name, label_count=7).eval()
    maps = []
    layer = torchvision_family.feature_layer(net)
    net.get_submodule(layer).register_forward_hook(lambda _part, _inputs, output: maps.append(output))
    net(torch.zeros(2, 3, 32, 32))
    assert maps[0].ndim == 4
    assert shape is None or maps[0].shape == shape


def test_a_transformer_has_no_feature_map():
    assert torchvision_family.feature_layer(without_memory("vit_b_16")) is None


def test_an_unknown_architecture_is_refused_with_the_nearest_names():
    with pytest.raises(catalogue.UnknownArchitecture, match="mobilenet_v2"):
        catalogue.create({"name": "mobilenetv2", "head": LINEAR}, label_count=7)
