"""What of a network learns, and from what: any of its layers from photos, or its head alone from cached features."""

import dataclasses
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from classifier.networks import parts
from classifier.preprocess import Preprocessing
from trainer.backbone import take_apart
from trainer.cache import FeatureCache
from trainer.data import load
from trainer.dataset import Dataset
from trainer.evaluate import logits_on, torch_forward
from trainer.features import Computing, Features
from trainer.gpu import resident
from trainer.loop import Source
from trainer.recipe import Recipe

log = logging.getLogger(__name__)


class Ground(Protocol):
    """What a fit stands on."""

    net: nn.Module  # what the loop trains
    head: str  # the name of the head in it
    labels: Tensor  # int64 (N,) of the training photos
    digest: str  # of the backbone that stands still, "" where none does
    device: torch.device  # where the loop trains

    @property
    def source(self) -> Source: ...

    def fill(self) -> Iterator[Computing]:
        """Make the source ready."""
        ...

    def logits(self, net: nn.Module) -> np.ndarray:
        """What such a net says of the validation photos, (V, K)."""
        ...

    def named(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The tensors of such a net under their names in the whole network."""
        ...


class OnPhotos:
    """The whole network learns, or those of its layers that the recipe names, from pictures changed anew each time."""

    digest = ""

    def __init__(
        self, net: nn.Module, dataset: Dataset, recipe: Recipe, preprocessing: Preprocessing, device: torch.device
    ) -> None:
        self.net = net
        self.device = device
        self.head = parts.head(net)
        self.preprocessing = preprocessing
        self.validation = load(dataset.validation, dataset.labels, preprocessing)
        kept = dataclasses.replace(preprocessing, resize=recipe.photo_size, crop=recipe.photo_size)
        self.source = resident(load(dataset.train, dataset.labels, kept), device)
        self.labels = self.source.labels

    def fill(self) -> Iterator[Computing]:
        return iter(())

    def logits(self, net: nn.Module) -> np.ndarray:
        return logits_on(torch_forward(net), self.validation.pixels.numpy(), self.preprocessing)

    def named(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return dict(weights)


def ground(
    net: nn.Module,
    dataset: Dataset,
    recipe: Recipe,
    preprocessing: Preprocessing,
    *,
    work: Path,
    cache: FeatureCache | None,
    device: torch.device,
) -> Ground:
    """Features where nothing but the head learns and the network can be taken apart there; its head is then trained on
    the processor, which is quick enough."""
    if recipe.trainable == "head":
        apart = take_apart(net, preprocessing.crop)
        if apart is not None:
            return Features(apart, dataset, recipe, preprocessing, work=work, cache=cache)
        log.info("%s does more than put its head at the end: its backbone looks anew each epoch", recipe.architecture)
    return OnPhotos(net, dataset, recipe, preprocessing, device)
