"""Start from a pretrained network: its backbone as it is, its head's rows by the names of the labels.

A published head already knows many of a dataset's labels under the names of its own dataset. Their rows (weights and
bias) are copied by name, never by position; a label it does not know starts from the mean of the rows.
"""

import hashlib
import pickle
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from classifier.networks import catalogue, parts
from trainer.weights import WeightsError, find, missing


@dataclass(frozen=True)
class WarmStart:
    """The network and where its weights came from."""

    net: nn.Module
    weights_sha256: str
    matched: dict[str, str]  # label -> the name of the pretrained row it started from


def warm_start(architecture: Mapping[str, Any], labels: Sequence[str], weights: Path | None) -> WarmStart:
    """Build the network for `labels` from published weights of the same architecture.

    `weights` is their file, or a folder to look for it (see trainer.weights), or None for the library's own cache and
    download. A linear head starts from the rows of the labels' names where there are such; another starts at random.
    Raises WeightsError.
    """
    name = architecture["name"]
    file = locate(name, weights)
    state = published(name, file)
    net = catalogue.create(architecture, label_count=len(labels))
    expected = net.state_dict()
    head = parts.head(net)
    head_tensors = [tensor for tensor in expected if tensor.startswith(f"{head}.")]
    for tensor, value in sorted(expected.items()):
        if tensor not in head_tensors and (tensor not in state or state[tensor].shape != value.shape):
            raise WeightsError(
                f"{file} holds no tensor {tensor} of shape {list(value.shape)}: it is not of a pretrained {name}."
            )
    matched: dict[str, str] = {}
    names = catalogue.family(name).pretrained_labels(name)
    rows_are_names = all(tensor in state and len(state[tensor]) == len(names) for tensor in head_tensors)
    if rows_are_names and not isinstance(net.get_submodule(head), parts.DenseHead):
        rows = match_labels(labels, names, state[f"{head}.weight"])
        matched = {label: names[row] for label, row in rows.items()}
    for tensor in head_tensors:
        started = expected[tensor]
        if matched:
            started = state[tensor].mean(0, keepdim=True).repeat(len(labels), *[1] * (state[tensor].ndim - 1))
            for label, row in rows.items():
                started[labels.index(label)] = state[tensor][row]
        state[tensor] = started
    net.load_state_dict({tensor: state[tensor] for tensor in expected})
    return WarmStart(net=net, weights_sha256=hashlib.sha256(file.read_bytes()).hexdigest(), matched=matched)


def locate(name: str, place: Path | None) -> Path:
    """The file with the published weights of a network; `place` is the file itself, a folder, or None."""
    if place is not None and not place.is_dir():
        return place
    library_file = catalogue.weights_file(name)
    found = find(place, name, library_file) if place else None
    if found:
        return found
    if library_file is None:
        raise WeightsError(missing(name, library_file, place))
    try:
        fetched: Path = catalogue.family(name).fetch(name)
    except (OSError, RuntimeError) as error:  # no network, or a file with another digest
        raise WeightsError(f"{missing(name, library_file, place)} Fetching it failed: {error}") from error
    return fetched


def published(name: str, file: Path) -> dict[str, Tensor]:
    """What a file of published weights holds, under the names that the network has today."""
    family = catalogue.family(name)
    if family.weights_file(name) is None:
        raise WeightsError(missing(name, None, None))
    try:
        state: dict[str, Tensor] = family.published(name, read_weights(file))
    except RuntimeError as error:  # timm builds the network to find the names
        raise WeightsError(f"{file} is not of a pretrained {name} ({str(error).splitlines()[0]}).") from error
    return state


def read_weights(file: Path) -> dict[str, Tensor]:
    """A state dict from a safetensors file or from torch's own format, which is read without unpickling objects."""
    if not file.is_file():
        raise WeightsError(f"There is no file {file}: name the file with the pretrained weights.")
    try:
        if file.suffix == ".safetensors":
            return safetensors.torch.load_file(file)
        state = torch.load(file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, safetensors.SafetensorError, RuntimeError, EOFError) as error:
        raise WeightsError(f"{file} is not a file of weights ({str(error).splitlines()[0]}).") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise WeightsError(f"{file} is not a state dict: a mapping of names to tensors.")
    return dict(state)


def match_labels(labels: Sequence[str], pretrained_labels: Sequence[str], weight: Tensor) -> dict[str, int]:
    """Label -> row of the pretrained head (its `weight`) with the same name.

    Case, spaces, hyphens and underscores are ignored ("shih-tzu" is "Shih-Tzu"); a label without an equal is looked
    for once more without the word "dog" on either side ("maltese" is "Maltese dog"). A name that several rows bear
    (ImageNet has the Cardigan dog and the cardigan one wears) goes to the row most like the other labels' rows.
    """
    candidates: dict[str, list[int]] = {}
    for spelling in (_plain, _without_dog):
        for label in labels:
            found = [row for row, name in enumerate(pretrained_labels) if spelling(name) == spelling(label)]
            candidates[label] = candidates.get(label) or found
    sure = [rows[0] for rows in candidates.values() if len(rows) == 1]
    matched = {}
    for label, rows in candidates.items():
        if len(rows) == 1:
            matched[label] = rows[0]
        elif rows and sure:
            likeness = F.cosine_similarity(weight[rows].flatten(1), weight[sure].flatten(1).mean(0, keepdim=True))
            matched[label] = rows[int(likeness.argmax())]
    return matched


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _without_dog(name: str) -> str:
    return _plain(re.sub(r"[\s_-]dogs?$", "", name.lower()))
