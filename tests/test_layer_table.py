import pytest
import torch
from torch import nn

from classifier import architectures
from classifier.networks import table as tables
from classifier.networks.table import SizeError, table

pytestmark = pytest.mark.alone

LINEAR = {"kind": "linear"}


def test_the_tables_kept_as_data_are_those_of_the_networks():
    assert architectures.tables() == [
        {**one, "layers": [[*map(plain, row)] for row in one["layers"]]} for one in tables.kept()
    ]


def plain(value):
    return list(value) if isinstance(value, tuple) else value


def test_the_plain_cnn_shrinks_as_published():
    rows = table({"name": "plain_cnn", "head": LINEAR}, label_count=10, image_size=128).layers
    sides = [row.output[1] for row in rows if row.kind in ("Conv2d", "MaxPool2d")]
    assert sides == [126, 124, 62, 60, 58, 29, 27, 25, 12, 10, 8, 4]
    assert rows[-1].output == (10,)


def test_resnet9_ends_with_its_published_count():
    found = table({"name": "resnet9", "head": LINEAR}, label_count=10, image_size=32)
    assert found.parameters == found.trainable == sum(row.parameters for row in found.layers) == 6_575_370
    assert found.weights_file is None


@pytest.mark.parametrize(
    ("name", "size"),
    [
        *(("vit_b_16", 224), ("swin_t", 64), ("maxvit_t", 224), ("regnet_y_400mf", 64), ("squeezenet1_1", 64)),
        *(("timm-convnext_atto", 64), ("timm-vit_tiny_patch16_224", 224), ("timm-ghostnet_050", 64)),
    ],
)
def test_the_rows_sum_up_to_the_network_wherever_it_hides_its_parameters(name: str, size: int):
    found = table({"name": name, "head": LINEAR}, label_count=7, image_size=size, trainable="head")
    assert sum(row.parameters for row in found.layers) == found.parameters
    assert sum(row.trainable for row in found.layers) == found.trainable
    assert 0 < found.trainable < found.parameters / 2
    assert 7 in [row.output[0] for row in found.layers if row.output]


def test_vgg16_with_its_dense_head_learns_what_is_not_frozen():
    head = {"kind": "dense", "layers": [512, 256, 128], "dropout": 0.1}
    found = table({"name": "vgg16", "head": head}, label_count=10, image_size=224, trainable="last blocks")
    assert found.parameters == 27_725_770
    assert found.trainable == 13_011_082 + 3 * (512 * 512 * 9 + 512)


@pytest.mark.parametrize(("name", "size"), [("vit_b_16", 64), ("plain_cnn", 64), ("deepnet", 64)])
def test_a_size_that_a_network_cannot_take_is_named(name: str, size: int):
    with pytest.raises(SizeError, match=f"{name} cannot take pictures of {size}x{size} pixels: "):
        table({"name": name, "head": LINEAR}, label_count=7, image_size=size)


def test_a_network_that_looks_at_values_is_not_called_too_small(monkeypatch):
    class Looks(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images[:, : int(images.sum().item())]

    with pytest.raises(NotImplementedError, match="looks computes what cannot be told from shapes"):
        tables.trace(Looks(), "looks", 8)
