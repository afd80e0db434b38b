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
from trainer.group import ALONE, Group
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
        self, net: nn.Module, dataset: Dataset, recipe: Recipe, preprocessing: Preprocessing, device: torch.device,
        group: Group = ALONE,
    ) -> None:  # fmt: skip
        """Each process of a group decodes its part of the photos; all learn from all, and each measures its part."""
        self.net = net
        self.device = device
        self.head = parts.head(net)
        self.preprocessing = preprocessing
        self.group = group
        self.count = len(dataset.validation)
        self.validation = load(dataset.validation[group.part(self.count)], dataset.labels, preprocessing)
        kept = dataclasses.replace(preprocessing, resize=recipe.photo_size, crop=recipe.photo_size)
        count = len(dataset.train)
        photos = load(dataset.train[group.part(count)], dataset.labels, kept)
        pixels, labels = group.whole(photos.pixels, count), group.whole(photos.labels, count)
        self.source = resident(dataclasses.replace(photos, pixels=pixels, labels=labels), device)
        self.labels = self.source.labels

    def fill(self) -> Iterator[Computing]:
        return iter(())

    def logits(self, net: nn.Module) -> np.ndarray:
        forward, pixels = torch_forward(net), self.validation.pixels.numpy()
        own = np.zeros((0, self.source.label_count), np.float32)  # of a group with more processes than photos
        if len(pixels):
            own = logits_on(forward, pixels, self.preprocessing)
        return self.group.whole(torch.from_numpy(own), self.count).numpy()

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
    group: Group = ALONE,
) -> Ground:
    """Features where nothing but the head learns and the network can be taken apart there; its head is then trained on
    the processor, which is quick enough, by one process alone."""
    if recipe.trainable == "head":
        apart = take_apart(net, preprocessing.crop)
        if apart is not None:
            return Features(apart, dataset, recipe, preprocessing, work=work, cache=cache)
        log.info("%s does more than put its head at the end: its backbone looks anew each epoch", recipe.architecture)
    return OnPhotos(net, dataset, recipe, preprocessing, device, group)
