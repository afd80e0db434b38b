"""Two plain stacks of 3x3 convolutions that end in dense layers, and so take pictures of one size alone."""

from torch import Tensor, nn

NAMES = ("plain_cnn", "deepnet")


class PlainNet(nn.Module):
    """Convolutions, then dense layers on all that they leave: pictures of `image_size` pixels and no other."""

    def __init__(self, image_size: int, features: nn.Sequential, dense: nn.Sequential, head: nn.Linear) -> None:
        super().__init__()
        self.image_size = image_size
        self.features = features
        self.dense = dense
        self.head = head

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, image_size, image_size) -> logits (B, K)."""
        if images.shape[2:] != (self.image_size, self.image_size):
            height, width = images.shape[2:]
            raise ValueError(
                f"This network takes pictures of {self.image_size}x{self.image_size} pixels, not {width}x{height}."
            )
        logits: Tensor = self.head(self.dense(self.features(images).flatten(1)))
        return logits


def plain_cnn(label_count: int) -> PlainNet:
    """Four groups of two convolutions without padding: 128 -> 62 -> 29 -> 12 -> 4 pixels."""
    parts: list[nn.Module] = []
    inputs = 3
    for first, second in ((32, 64), (128, 256), (256, 512), (512, 1024)):
        parts += [
            nn.Conv2d(inputs, first, 3),
            nn.ReLU(inplace=True),
            nn.Conv2d(first, second, 3),
            nn.ReLU(inplace=True),
        ]
        parts += [nn.BatchNorm2d(second), nn.MaxPool2d(2)]
        inputs = second
    dense = nn.Sequential(
        nn.Linear(4 * 4 * 1024, 512), nn.ReLU(), nn.Linear(512, 256), nn.ReLU(), nn.Dropout(0.2),
        nn.Linear(256, 64), nn.ReLU(),
    )  # fmt: skip
    return PlainNet(128, nn.Sequential(*parts), dense, nn.Linear(64, label_count))


def deepnet(label_count: int) -> PlainNet:
    """Three groups of three convolutions with padding: 32 -> 16 -> 8 -> 4 pixels."""
    parts: list[nn.Module] = []
    inputs = 3
    for group in ((32, 48, 64), (96, 128, 256), (384, 512, 1024)):
        for outputs in group:
            parts += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(inplace=True), nn.BatchNorm2d(outputs)]
            inputs = outputs
        parts.append(nn.MaxPool2d(2))
    dense = nn.Sequential(nn.Linear(4 * 4 * 1024, 1024), nn.BatchNorm1d(1024), nn.ReLU())
    return PlainNet(32, nn.Sequential(*parts), dense, nn.Linear(1024, label_count))


def names() -> tuple[str, ...]:
    return NAMES


def create(name: str, *, label_count: int) -> nn.Module:
    """The network with random weights: (B, 3, S, S) -> logits (B, label_count), S its one size."""
    return plain_cnn(label_count) if name == "plain_cnn" else deepnet(label_count)


def feature_layer(net: nn.Module) -> str | None:
    """The part whose output is the last feature map (B, 1024, 4, 4)."""
    return "features"


def weights_file(name: str) -> str | None:
    """Nobody has published weights of these."""
    return None
