"""What a network is made of, for whoever may not import torch: from the tables kept with the code, else by a process of
its own, one at a time.
"""

import copy
import json
import subprocess
import sys
import threading
from functools import lru_cache
from pathlib import Path
from typing import Any

from classifier.architectures import tables
from trainer.recipe import Recipe

ROOT = Path(__file__).resolve().parent.parent
SECONDS = 120.0  # for the import of torch and one walk through the network
LABELS = range(2, 100_001)
_one = threading.Lock()


class LayersError(ValueError):
    """A network that has no table; the sentence says why."""


def layer_table(recipe: Recipe, labels: int) -> dict[str, Any]:
    """As classifier.networks.table.Table.as_dict, for the recipe's network, its image size and what of it learns.

    Raises LayersError.
    """
    if labels not in LABELS:
        raise LayersError(f"A network tells {LABELS.start} to {LABELS.stop - 1} labels apart, not {labels}.")
    return copy.deepcopy(kept(recipe, labels) or computed(json.dumps(recipe.as_architecture()), labels, *steps(recipe)))


def kept(recipe: Recipe, labels: int) -> dict[str, Any] | None:
    """The table that is kept as data, its last layer for so many labels; None where there is none like that."""
    for table in tables():
        fits = table["architecture"] == recipe.as_architecture() and table["image_size"] == recipe.image_size
        if fits and recipe.trainable == "all":
            return with_labels(table, labels)
    return None


def with_labels(table: dict[str, Any], labels: int) -> dict[str, Any]:
    """The same network for another number of labels: its last layer has so many outputs, each with its own weights."""
    *others, (name, kind, output, parameters, trainable) = table["layers"]
    assert output == [table["label_count"]] and parameters % table["label_count"] == 0
    last = [name, kind, [labels], *(count // table["label_count"] * labels for count in (parameters, trainable))]
    return table | {
        "layers": [*others, last],
        "label_count": labels,
        "parameters": table["parameters"] + last[3] - parameters,
        "trainable": table["trainable"] + last[4] - trainable,
    }


def steps(recipe: Recipe) -> tuple[int, str, int]:
    return recipe.image_size, recipe.trainable, recipe.last_blocks


@lru_cache(maxsize=64)
def computed(architecture: str, labels: int, size: int, trainable: str, last_blocks: int) -> dict[str, Any]:
    """The table from a process that imports torch. Raises LayersError."""
    command = [sys.executable, "-m", "classifier.networks.table", architecture]
    command += ["--labels", str(labels), "--size", str(size)]
    command += ["--trainable", trainable, "--last-blocks", str(last_blocks)]
    with _one:
        try:
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=SECONDS)
        except subprocess.TimeoutExpired as error:
            raise LayersError(f"The layers were not counted within {SECONDS:.0f} seconds: try once more.") from error
    if done.returncode:
        raise LayersError(done.stderr.strip().rpartition("\n")[2])
    table: dict[str, Any] = json.loads(done.stdout)
    return table
