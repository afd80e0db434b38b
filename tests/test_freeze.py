import pytest
import torch
from torch import nn

from classifier.networks import catalogue, parts
from trainer.loop import Training
from trainer.recipe import Recipe

pytestmark = pytest.mark.alone


def create(name: str, head: dict | None = None) -> nn.Module:
    with torch.device("meta"):
        return catalogue.create({"name": name, "head": head or {"kind": "linear"}}, label_count=7)


def learning(net: nn.Module) -> set[str]:
    """The top-most names of what learns."""
    return {name.rpartition(".")[0] for name, parameter in net.named_parameters() if parameter.requires_grad}


def test_the_blocks_of_vgg_end_with_its_poolings():
    blocks = parts.blocks(create("vgg16"))
    assert [len(block) for block in blocks] == [2, 2, 3, 3, 3]
    assert blocks[-1] == ["features.24", "features.26", "features.28"]


@pytest.mark.parametrize(
    ("name", "last"),
    [
        ("resnet50", ["layer4"]),
        ("mobilenet_v2", ["features.18"]),
        ("densenet121", ["features.denseblock4", "features.norm5"]),
        ("vit_b_16", ["encoder.layers.encoder_layer_11", "encoder.ln"]),
        ("resnet9", ["features.5"]),
        ("plain_cnn", ["dense"]),
        ("timm-convnext_atto", ["stages.3"]),
    ],
)
def test_the_last_block_of_a_network(name: str, last: list[str]):
    assert parts.blocks(create(name))[-1] == last


def test_every_parameter_before_the_head_lies_in_a_block_or_stands_alone():
    net = create("mobilenet_v2")
    named = [name for block in parts.blocks(net) for name in block]
    assert len(named) == len(set(named))
    left = [name for name, _ in net.named_parameters() if not any(name.startswith(f"{part}.") for part in named)]
    assert left == ["classifier.1.weight", "classifier.1.bias"]


def test_all_learns_everything_and_freezes_nothing():
    net = create("resnet18")
    assert parts.freeze(net, "all") == []
    assert all(parameter.requires_grad for parameter in net.parameters())


def test_the_head_alone_learns():
    net = create("resnet152", {"kind": "dense", "layers": [800], "dropout": 0.35})
    frozen = parts.freeze(net, "head")
    assert learning(net) == {"fc.0", "fc.3"}
    assert sum(p.numel() for p in net.parameters() if p.requires_grad) == (2048 + 1) * 800 + (800 + 1) * 7
    assert sum(isinstance(part, nn.BatchNorm2d) for part in frozen) == 155  # all of them
    assert not any(part is dropout for part in frozen for dropout in net.fc)


def test_the_last_blocks_learn_with_the_dense_layers_behind_them():
    net = create("vgg16")
    parts.freeze(net, "last blocks", last_blocks=1)
    convolutions = {"features.24", "features.26", "features.28"}
    assert learning(net) == convolutions | {"classifier.0", "classifier.3", "classifier.6"}
    parts.freeze(net, "last blocks", last_blocks=2)
    assert learning(net) > convolutions | {"features.17"}


def test_frozen_statistics_stand_still_while_the_rest_trains():
    torch.manual_seed(0)
    net = catalogue.create({"name": "resnet9", "head": {"kind": "linear"}}, label_count=3)
    frozen = parts.freeze(net, "last blocks", last_blocks=1)
    net.train()
    for part in frozen:
        part.eval()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    net(torch.rand(2, 3, 16, 16))
    moved = {name for name, tensor in net.state_dict().items() if not torch.equal(tensor, before[name])}
    assert {name.split(".")[1] for name in moved} == {"5"}
    assert any("running_mean" in name for name in moved)


@pytest.mark.parametrize("name", ["timm-mobilenetv3_small_050", "timm-efficientnet_b0"])
def test_norms_that_hold_further_layers_stand_still_too(name: str):
    """As timm's, of which each holds its activation: a step moves the statistics of the last block alone."""
    torch.manual_seed(0)
    net = catalogue.create({"name": name, "head": {"kind": "linear"}}, label_count=3)
    recipe = Recipe(
        architecture=name, image_size=32, trainable="last blocks", last_blocks=2, batch_norm="trained", average=0
    )
    training = Training(net, recipe, head=parts.head(net), steps_per_epoch=1)
    training.train_mode()
    learns = {name.rpartition(".")[0] for name, parameter in net.named_parameters() if parameter.requires_grad}
    before = {name: tensor.clone() for name, tensor in net.named_buffers() if "running" in name}
    training.step(torch.rand(4, 3, 32, 32), torch.eye(3)[torch.arange(4) % 3])
    moved = {
        name.rpartition(".")[0] for name, one in net.named_buffers() if not torch.equal(one, before.get(name, one))
    }
    assert moved and moved <= learns and len(before) > 2 * len(moved)
