"""Two small residual networks with a stem of one 3x3 convolution, for pictures of 32 to 96 pixels.

Every convolution is 3x3 with padding 1 and bias, then batch norm and ReLU. A residual is two of them, added to what
went in.
"""

from torch import Tensor, nn

NAMES = ("resnet9", "resnet18_32px")


class Residual(nn.Module):
    """Two convolutions beside the identity: (B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(convolution(channels, channels), convolution(channels, channels))

    def forward(self, maps: Tensor) -> Tensor:
        residual: Tensor = self.convolutions(maps)
        return residual + maps


class ResNet9(nn.Module):
    """Eight convolutions and a linear layer, global max pooling and dropout 0.2; after the network of that name in
    DAWNBench's CIFAR-10 entries (Page 2018, "How to train your ResNet").
    """

    def __init__(self, label_count: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            convolution(3, 64),
            convolution(64, 128, pool=True),
            Residual(128),
            convolution(128, 256, pool=True),
            convolution(256, 512, pool=True),
            Residual(512),
        )
        self.dropout = nn.Dropout(0.2)
        self.head = nn.Linear(512, label_count)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W), sides of 8 or more -> logits (B, K)."""
        pooled = self.features(images).amax(dim=(2, 3))  # (B, 512); on a GPU adaptive max pooling is not deterministic
        logits: Tensor = self.head(self.dropout(pooled))
        return logits


class ResNet18For32Pixels(nn.Module):
    """Twelve convolutions, global average pooling and a linear layer: a ResNet-18 made shallow for small pictures."""

    def __init__(self, label_count: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            convolution(3, 64, pool=True),
            Residual(64),
            convolution(64, 128, pool=True),
            Residual(128),
            convolution(128, 256, pool=True),
            Residual(256),
            convolution(256, 512),
            Residual(512),
        )
        self.head = nn.Linear(512, label_count)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W), sides of 8 or more -> logits (B, K)."""
        logits: Tensor = self.head(self.features(images).mean(dim=(2, 3)))
        return logits


def names() -> tuple[str, ...]:
    return NAMES


def create(name: str, *, label_count: int) -> nn.Module:
    """The network with random weights: (B, 3, H, W) -> logits (B, label_count)."""
    return ResNet9(label_count) if name == "resnet9" else ResNet18For32Pixels(label_count)


def feature_layer(net: nn.Module) -> str | None:
    """The part whose output is the last feature map (B, 512, h, w)."""
    return "features"


def weights_file(name: str) -> str | None:
    """Nobody has published weights of these."""
    return None


def convolution(inputs: int, outputs: int, *, pool: bool = False) -> nn.Sequential:
    parts = [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
    return nn.Sequential(*parts, nn.MaxPool2d(2)) if pool else nn.Sequential(*parts)
