"""The named recipes, and changes of single fields as they are typed."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from trainer.recipe import Recipe, RecipeError, fields

TEXTS = frozenset(field.name for field in fields() if field.kind is str)


@dataclass(frozen=True)
class Preset:
    """A recipe with its story."""

    recipe: Recipe
    help: str
    mended: str = ""  # what the system that the preset is named after did wrong, and what is done instead
    fractions: tuple[float, float, float] = (0.8, 0.1, 0.1)  # of the photos that train, validate and test


# The model that ships with the site. All layers learn, but gently, for the backbone knows dogs already: what it was
# taught with is soon forgotten (trainer/LOG.md). Trained at a smaller side than it is served with, because random crops
# enlarge what they show (Touvron et al. 2019, arXiv:1906.06423).
STARTER = Recipe(
    architecture="mobilenet_v2",
    image_size=160,
    evaluation_size=192,
    crop_scale=0.5,
    rotation_degrees=5,
    label_smoothing=0,
    epochs=10,
    cycles=2,
    learning_rate=6e-5,
    head_learning_rate=1e-4,
    average=0.99,
)

# Photos that are neither cropped, turned nor recoloured, and a network that knows nothing yet: the ground on which the
# presets from scratch say what they do.
PLAIN = Recipe(
    weights="random",
    batch_norm="trained",
    crop_scale=1,
    crop_ratio=1,
    rotation_degrees=0,
    colour=0,
    label_smoothing=0,
    weight_decay=0,
    clip_norm=0,
    average=0,
)
ONE_CYCLE: dict[str, Any] = {
    "optimizer": "adam",
    "schedule": "one-cycle",
    "warmup": 0.3,
    "learning_rate": 0.01,
    "head_learning_rate": 0.01,
    "weight_decay": 1e-4,
    "clip_value": 0.1,
}
CONSTANT: dict[str, Any] = {"schedule": "constant", "warmup": 0.0}
CIFAR: dict[str, Any] = {"photo_size": 32, "image_size": 32, "crop_padding": 4}
CIFAR_FRACTIONS = (45 / 60, 5 / 60, 10 / 60)  # 45,000, 5,000 and 10,000 photos

RESNET9 = PLAIN.changed(**ONE_CYCLE, **CIFAR, architecture="resnet9", epochs=8, batch_size=400)
ANIMALS_CNN = PLAIN.changed(
    **CONSTANT,
    architecture="plain_cnn",
    photo_size=128,
    image_size=128,
    rotation_degrees=25,
    shift=0.2,
    zoom=0.3,
    epochs=110,
    batch_size=128,
    optimizer="adam",
    learning_rate=1e-3,
    head_learning_rate=1e-3,
)
SGD: dict[str, Any] = {"optimizer": "sgd", "momentum": 0.9, "learning_rate": 1e-3, "head_learning_rate": 1e-3}

CATALOGUE: dict[str, Preset] = {
    "transfer": Preset(
        Recipe(
            trainable="head",
            crop_scale=0.5,
            views=4,
            label_smoothing=0.0,
            epochs=20,
            head_learning_rate=2e-3,
            average=0.99,
        ),
        "Transfer, two minutes: a MobileNetV2 that knows photographs learns a new head. Where to begin.",
    ),
    "starter": Preset(
        STARTER, "How the model of 120 dog breeds was made: all layers of a pretrained MobileNetV2, gently."
    ),
    "animals10-resnet9": Preset(
        RESNET9.changed(photo_size=64, image_size=64, crop_padding=8, epochs=15, batch_size=128),
        "Animals-10 at 64 pixels: a ResNet9 from scratch, one-cycle, fifteen epochs.",
        "Validation photos are not cropped at random, all are normalized, the split is stratified and seeded with a "
        "sealed test part, the labels' names travel with the weights, and accuracy is a sum over photos.",
    ),
    "animals10-cnn": Preset(
        ANIMALS_CNN,
        "Animals-10 at 128 pixels: the plain CNN from scratch, photos turned, moved and zoomed.",
        "Every epoch shows every photo (every second one ran a single batch), validation photos are not augmented, and "
        "the best epoch is kept.",
    ),
    "oversampling": Preset(
        ANIMALS_CNN.changed(balance="oversampling"),
        "The plain CNN with photos of rare labels drawn more often; balance=weights lets them weigh more instead.",
        "The same as in animals10-cnn.",
    ),
    "animals10-vgg16": Preset(
        PLAIN.changed(
            **CONSTANT,
            architecture="vgg16",
            weights="pretrained",
            head="512-256-128",
            head_dropout=0.1,
            trainable="last blocks",
            shift=0.2,
            zoom=0.3,
            rotation_degrees=25,
            epochs=20,
            batch_size=32,
            optimizer="adam",
            learning_rate=1e-4,
            head_learning_rate=1e-4,
        ),
        "Animals-10 at 224 pixels: a pretrained VGG16 whose last convolutional block learns with a dense head.",
        "The same as in animals10-cnn; and all labels' probabilities are kept, not the best label alone.",
    ),
    "dogs120-resnet152": Preset(
        Recipe(
            architecture="resnet152",
            head="800",
            head_dropout=0.35,
            trainable="head",
            crop_scale=0.08,
            rotation_degrees=30,
            colour=0.0,
            label_smoothing=0.0,
            epochs=30,
            patience=3,
            schedule="constant",
            warmup=0.0,
            optimizer="sgd",
            learning_rate=1.5e-3,
            head_learning_rate=1.5e-3,
            weight_decay=0.0,
            clip_norm=0.0,
            average=0.0,
        ),
        "Kaggle's dog breeds at 224 pixels: a frozen pretrained ResNet-152 with a head of 800 hidden units, until "
        "validation turns.",
        "Three quarters train (they tested on them), gradients are zeroed and momentum takes their place, no ReLU "
        "stands before the softmax, frozen batch norm stands still, and validation chooses the epoch, not the test.",
        fractions=(0.75, 0.125, 0.125),
    ),
    "cifar10-resnet9": Preset(
        RESNET9,
        "CIFAR-10 at 32 pixels: a ResNet9 from scratch, one-cycle, eight epochs.",
        "The test photos are read once, and every figure is a sum over photos with its interval.",
        fractions=CIFAR_FRACTIONS,
    ),
    "cifar10-resnet18": Preset(
        RESNET9.changed(architecture="resnet18_32px"),
        "CIFAR-10 at 32 pixels: the twelve-convolution ResNet18, otherwise as cifar10-resnet9, to be compared with it.",
        "It is trained: its system announced the comparison and never ran it.",
        fractions=CIFAR_FRACTIONS,
    ),
    "cifar100-deepnet": Preset(
        PLAIN.changed(**CONSTANT, **CIFAR, **SGD, architecture="deepnet", weight_decay=1e-4, epochs=40, batch_size=32),
        "CIFAR-100 at 32 pixels: the plain deep net from scratch.",
        "No accuracy is claimed that was not measured on sealed photos.",
        fractions=CIFAR_FRACTIONS,
    ),
    "cifar100-resnet18": Preset(
        PLAIN.changed(
            **CONSTANT,
            **SGD,
            architecture="resnet18",
            weights="pretrained",
            photo_size=32,
            image_size=224,
            epochs=40,
            batch_size=32,
        ),
        "CIFAR-100 enlarged to 224 pixels: all layers of a pretrained ResNet-18.",
        "No accuracy is claimed that was not measured on sealed photos.",
        fractions=CIFAR_FRACTIONS,
    ),
}

PRESETS: dict[str, Recipe] = {name: preset.recipe for name, preset in CATALOGUE.items()}


def changed(recipe: Recipe, changes: Iterable[str]) -> Recipe:
    """The recipe with "field=value" changes; raises RecipeError."""
    values: dict[str, Any] = {}
    for change in changes:
        name, equals, text = change.partition("=")
        if not equals:
            raise RecipeError(name, f"A change of a recipe is written field=value, not {change!r}.")
        try:
            values[name] = text if name in TEXTS else json.loads(text)
        except ValueError:  # not a number: the recipe refuses it by name
            values[name] = text
    return recipe.changed(**values)
