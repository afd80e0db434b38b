"""The pictures of a photo that a frozen backbone looks at.

View 0 is the photo as validation and use see it. Each other is a copy changed at random, drawn from (seed, photo,
view): the same in every run that changes photos alike, whatever else is in its dataset.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from classifier import colour, preprocess
from classifier.preprocess import Preprocessing, decode, square
from trainer import augment, draws, randaugment
from trainer.data import prepare
from trainer.draws import generator
from trainer.recipe import Recipe

PACKAGES = ("torch", "torchvision", "timm", "onnxruntime", "numpy", "pillow")
SOURCES = (augment, draws, randaugment, colour, preprocess)
FIELDS = (  # of a recipe, that decide a changed copy
    *("photo_size", "image_size", "crop_padding", "crop_scale", "crop_ratio", "flip", "rotation_degrees", "shift"),
    *("zoom", "randaugment_operations", "randaugment_magnitude", "colour", "seed"),
)


def pictures(
    data: bytes, photo: str, views: Iterable[int], recipe: Recipe, preprocessing: Preprocessing
) -> Iterator[tuple[int, np.ndarray]]:
    """Each of these views of a photo as float32 (1, 3, S, S), normalized; `photo` is the SHA-256 of its file `data`.

    Raises what decoding raises.
    """
    kept = replace(preprocessing, resize=recipe.photo_size, crop=recipe.photo_size)
    change, pixels = prepare(recipe, preprocessing), None
    for view in views:
        if view == 0:
            yield view, preprocess.preprocess(data, preprocessing)[None]
            continue
        if pixels is None:
            pixels = torch.from_numpy(square(decode(data, shorter_side=kept.resize), kept).copy())[None]
        yield view, change(pixels, generator(recipe.seed, view, int(photo[:16], 16))).numpy()


def side(view: int, recipe: Recipe, preprocessing: Preprocessing) -> int:
    """Of a view's pictures, in pixels."""
    return recipe.image_size if view else preprocessing.crop


def kind(backbone: str, view: int, recipe: Recipe, preprocessing: Preprocessing) -> str:
    """A digest of all that decides what the backbone of this digest sees in one view of a photo: packages and the code
    that makes pictures among it, for what another release computed must not stand beside what this one does.
    """
    facts = {
        "backbone": [recipe.architecture, backbone],
        "preprocessing": preprocessing.as_dict(),
        "packages": {name: version(name) for name in PACKAGES},
        "code": [hashlib.sha256(Path(module.__file__ or "").read_bytes()).hexdigest() for module in SOURCES],
        "view": view,
    }
    if view:
        facts["changes"] = {name: value for name, value in recipe.as_dict().items() if name in FIELDS}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]
