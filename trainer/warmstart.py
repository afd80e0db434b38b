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


class WeightsError(ValueError):
    """Pretrained weights that are missing or of another network; the sentence names the file."""


@dataclass(frozen=True)
class WarmStart:
    """The network and where its weights came from."""

    net: nn.Module
    weights_sha256: str
    matched: dict[str, str]  # label -> the name of the pretrained row it started from


def warm_start(architecture: Mapping[str, Any], labels: Sequence[str], weights: Path) -> WarmStart:
    """Build the network for `labels` from a state dict of the same architecture with its published head.

    Raises WeightsError.
    """
    name = architecture["name"]
    family = catalogue.family(name)
    net = catalogue.create(architecture, label_count=len(labels))
    state = read_weights(weights)
    expected = net.state_dict()
    head = parts.head(net)
    head_tensors = [f"{head}.weight", f"{head}.bias"]
    pretrained_labels = family.pretrained_labels(name)
    for tensor in sorted(expected):
        shape = list(expected[tensor].shape)
        if tensor in head_tensors:
            shape[0] = len(pretrained_labels)
        if tensor not in state or list(state[tensor].shape) != shape:
            raise WeightsError(
                f"{weights} holds no tensor {tensor} of shape {shape}: it is not of a pretrained {name}."
            )
    rows = match_labels(labels, pretrained_labels, state[head_tensors[0]])
    for tensor in head_tensors:
        pretrained = state[tensor]
        started = pretrained.mean(0, keepdim=True).repeat(len(labels), *[1] * (pretrained.ndim - 1))
        for label, row in rows.items():
            started[labels.index(label)] = pretrained[row]
        state[tensor] = started
    net.load_state_dict({tensor: state[tensor] for tensor in expected})
    return WarmStart(
        net=net,
        weights_sha256=hashlib.sha256(weights.read_bytes()).hexdigest(),
        matched={label: pretrained_labels[row] for label, row in rows.items()},
    )


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
