"""What a training process is to do."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Job:
    """What the file of a job says."""

    name: str  # of the version to be
    recipe: Mapping[str, Any]
    labels: list[str]
    manifest: str  # trainer.manifest
    fingerprint: str  # of the dataset
    card: Mapping[str, Any]  # trainer.origin.Card
    command: str  # what makes the same again
    facts: Mapping[str, Any]  # further lines of the card
    work: str  # folder of the checkpoints
    earlier: list[str]  # those of earlier attempts, removed as soon as this one stands on its own
    out: str  # folder of the artifact
    weights: str | None = None  # pretrained ones: their file, or a folder with it; else where the library has them
    continues: str | None = None  # weights of a version, head included
    features: str | None = None  # folder of the cache for what frozen backbones see
    features_bytes: int = 0  # how large it may grow
    only_publish: bool = False  # make the artifact of the best epoch so far
    range_test: bool = False  # look for a learning rate instead of training
    checkpoint_seconds: float = 300.0
    device: str = "cpu"  # torch's name of where to train, or the names of several with + between

    @property
    def devices(self) -> list[str]:
        """The names of those on which it trains. One is enough where nothing but a head learns, from features that are
        computed once by all processors."""
        names = self.device.split("+")
        return names[:1] if self.recipe.get("trainable") == "head" else names
