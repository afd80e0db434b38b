"""The networks of each family: their exact sizes, their shapes, and the way of one through the export."""

import numpy as np
import pytest
import torch
from torch import nn

from classifier.artifact import golden_input
from classifier.engines.onnx import OnnxEngine
from classifier.networks import catalogue, parts, timm_family
from classifier.preprocess import Preprocessing
from trainer.export import exported

pytestmark = pytest.mark.alone

LINEAR = {"kind": "linear"}
VGG_HEAD = {"kind": "dense", "layers": [512, 256, 128], "dropout": 0.1}
RESNET_HEAD = {"kind": "dense", "layers": [800], "dropout": 0.35}


def without_memory(name: str, label_count: int, head: dict = LINEAR) -> nn.Module:
    """The network with its shapes alone."""
    with torch.device("meta"):
        return catalogue.create({"name": name, "head": head}, label_count=label_count)


def size(part: nn.Module) -> int:
    return sum(parameter.numel() for parameter in part.parameters())


def statistics(net: nn.Module) -> int:
    return sum(buffer.numel() for name, buffer in net.named_buffers() if "running_" in name)


@pytest.mark.parametrize(
    ("name", "label_count", "parameters"),
    [("resnet9", 10, 6_575_370), ("resnet18_32px", 10, 7_830_666), ("deepnet", 100, 24_766_356)],
)
def test_a_network_from_scratch_has_exactly_its_published_parameters(name: str, label_count: int, parameters: int):
    assert size(without_memory(name, label_count)) == parameters


def test_the_plain_cnn_has_its_published_parameters_counting_its_batch_norm_statistics():
    net = without_memory("plain_cnn", 10)
    assert statistics(net) == 3_712
    assert size(net) + statistics(net) == 17_783_050


@pytest.mark.parametrize(
    ("name", "label_count", "head", "parameters", "of_the_head"),
    [("vgg16", 10, VGG_HEAD, 27_725_770, 13_011_082), ("resnet152", 120, RESNET_HEAD, 59_879_128, 1_735_320)],
)
def test_a_dense_head_gives_exactly_the_published_parameters(name, label_count, head, parameters, of_the_head):
    net = without_memory(name, label_count, head)
    assert size(net) == parameters
    assert size(net.get_submodule(parts.head(net))) == of_the_head


def test_resnet18_for_32_pixels_has_twelve_convolutions():
    assert sum(isinstance(part, nn.Conv2d) for part in without_memory("resnet18_32px", 10).modules()) == 12


@pytest.mark.parametrize(
    ("name", "side", "maps"),
    [
        ("resnet9", 64, (2, 512, 8, 8)),
        ("resnet9", 32, (2, 512, 4, 4)),
        ("resnet18_32px", 32, (2, 512, 4, 4)),
        ("plain_cnn", 128, (2, 1024, 4, 4)),
        ("deepnet", 32, (2, 1024, 4, 4)),
    ],
)
def test_a_network_from_scratch_gives_logits_and_a_last_feature_map(name: str, side: int, maps: tuple[int, ...]):
    net = without_memory(name, 7).eval()
    seen = []
    layer = catalogue.family(name).feature_layer(net)
    net.get_submodule(layer).register_forward_hook(lambda _part, _inputs, output: seen.append(output.shape))
    assert net(torch.zeros(2, 3, side, side, device="meta")).shape == (2, 7)
    assert seen == [maps]


def test_a_network_of_one_size_says_which_it_takes():
    with pytest.raises(ValueError, match="takes pictures of 128x128 pixels, not 64x64"):
        without_memory("plain_cnn", 7)(torch.zeros(2, 3, 64, 64, device="meta"))


@pytest.mark.parametrize("name", ["resnet9", "deepnet"])
def test_a_network_from_scratch_is_exported_with_the_same_answers(name: str):
    torch.manual_seed(0)
    net = catalogue.create({"name": name, "head": LINEAR}, label_count=4)
    preprocessing = Preprocessing(resize=32, crop=32)
    with exported(net, name, preprocessing) as files:
        engine = OnnxEngine(files["model.onnx"], threads=1)
        images = np.stack([golden_input(seed, preprocessing) for seed in (1, 2, 3)])
        assert engine(images).shape == (3, 4)
        assert engine.features(images).ndim == 4


# One of each way in which timm's networks end.
TIMM = {
    "timm-resnet10t": "layer4",
    "timm-convnext_atto": "stages.3",
    "timm-mobilenetv3_small_050": "blocks.5",
    "timm-efficientnet_lite0": "blocks.6",
    "timm-dla34": "level5",  # a convolution is its head
    "timm-vit_tiny_patch16_224": None,  # tokens
    "timm-swin_tiny_patch4_window7_224": None,  # channels last
}


@pytest.mark.parametrize("name", TIMM)
def test_timms_networks_have_one_output_a_label_and_their_last_feature_map(name: str):
    net = without_memory(name, 7)
    head = net.get_submodule(parts.head(net))
    assert (head.out_channels if isinstance(head, nn.Conv2d) else head.out_features) == 7
    assert timm_family.feature_layer(net) == TIMM[name]
    assert net.training


@pytest.mark.parametrize("name", [*TIMM, "squeezenet1_1", "alexnet", "convnext_tiny", "vit_b_16", "maxvit_t"])
def test_a_dense_head_takes_the_place_of_a_linear_one(name: str):
    description = {"kind": "dense", "layers": [16, 8], "dropout": 0.5}
    if name == "timm-dla34":
        with pytest.raises(parts.HeadError, match="linear only"):
            without_memory(name, 7, description)
        return
    net = without_memory(name, 7, description)
    head = net.get_submodule(parts.head(net))
    assert isinstance(head, parts.DenseHead)
    assert [part.out_features for part in head if isinstance(part, nn.Linear)] == [16, 8, 7]
    assert net.eval()(torch.zeros(2, 3, 224, 224, device="meta")).shape == (2, 7)


@pytest.mark.parametrize(
    ("head", "sentence"),
    [
        ({"kind": "conv"}, "no head of kind 'conv'"),
        ({}, "no head of kind None"),
        ({"kind": "dense"}, "not None"),
        ({"kind": "dense", "layers": []}, r"not \[\]"),
        ({"kind": "dense", "layers": [0]}, r"not \[0\]"),
        ({"kind": "dense", "layers": [True]}, r"not \[True\]"),
        ({"kind": "dense", "layers": [8], "dropout": 1}, "below 1, not 1"),
        ({"kind": "dense", "layers": [8], "dropout": "0.5"}, "below 1, not '0.5'"),
    ],
)
def test_an_impossible_head_is_refused(head: dict, sentence: str):
    with pytest.raises(parts.HeadError, match=sentence):
        without_memory("squeezenet1_1", 7, head)
