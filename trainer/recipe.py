"""Every hyperparameter of a training, as data: with its default, unit, bounds and a sentence of help.

    recipe = Recipe(epochs=8)                       # or Recipe.from_dict({"epochs": 8})
    recipe.as_dict()                                # what is stored with a run and in an artifact's origin

A wrong value is refused with the field's name before anything starts.
"""

import dataclasses
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal, get_args, get_type_hints

from classifier.architectures import KNOWN
from classifier.preprocess import Preprocessing

Colour = tuple[float, float, float]  # red, green, blue
NORMALIZATIONS: dict[str, tuple[Colour, Colour]] = {  # mean and standard deviation of pixels of 0..1
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "none": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
}
HEAD = re.compile(r"linear|[1-9]\d{0,4}(-[1-9]\d{0,4}){0,7}")


class RecipeError(ValueError):
    """A field that does not exist or a value out of bounds; the sentence names the field."""

    def __init__(self, field: str, sentence: str) -> None:
        super().__init__(sentence)
        self.field = field


def _field(default: Any, help: str, *, low: float = -math.inf, high: float = math.inf, unit: str = "") -> Any:
    return dataclasses.field(default=default, metadata={"help": help, "low": low, "high": high, "unit": unit})


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a network is trained. `fields()` lists what a form or a help page needs to know about each field."""

    # the network
    architecture: str = _field("mobilenet_v2", "The network, by its name in the catalogue of architectures.")
    weights: Literal["pretrained", "random"] = _field(
        "pretrained", "Whether the network starts from its published weights or from random ones."
    )
    head: str = _field("linear", "The new head: linear, or the sizes of its hidden layers, such as 512-256-128.")
    head_dropout: float = _field(
        0.0, "Share of the outputs of each hidden layer of the head that a step drops.", low=0, high=0.95
    )
    trainable: Literal["all", "last blocks", "head"] = _field(
        "all", "What learns; the rest stands still with its batch-norm statistics."
    )
    last_blocks: int = _field(
        1, "How many of the last blocks learn beside the head where `trainable` is last blocks.", low=1, high=1000
    )
    batch_norm: Literal["frozen", "trained"] = _field(
        "frozen", "Whether batch-norm statistics stand still at their pretrained values or follow the training batches."
    )
    # the pictures
    photo_size: int = _field(
        224, "Side at which the training photos are kept in memory.", low=8, high=1024, unit="pixels"
    )
    image_size: int = _field(224, "Side of the training pictures.", low=8, high=1024, unit="pixels")
    evaluation_size: int = _field(
        0, "Side of the pictures in validation, test and use; 0 is that of training.", low=0, high=1024, unit="pixels"
    )
    normalization: Literal["imagenet", "half", "none"] = _field(
        "imagenet", "What pixels are normalized by: ImageNet's mean and deviation, one half each, or not at all."
    )
    crop_padding: int = _field(
        0, "Width of the mirrored edge around a photo, out of which its own size is cropped.", low=0, high=128,
        unit="pixels",
    )  # fmt: skip
    crop_scale: float = _field(
        0.35, "Smallest part of a photo that a random crop keeps.", low=0.05, high=1, unit="of the area"
    )
    crop_ratio: float = _field(
        4 / 3, "Most that a random crop is stretched, either way; 1 keeps the shape.", low=1, high=4
    )
    flip: float = _field(0.5, "How often a photo is mirrored.", low=0, high=1, unit="of the photos")
    rotation_degrees: float = _field(10.0, "Most that a photo is turned, either way.", low=0, high=180, unit="degrees")
    shift: float = _field(0.0, "Most that a photo is moved, either way.", low=0, high=0.5, unit="of its side")
    zoom: float = _field(0.0, "Most that a photo is enlarged or made smaller.", low=0, high=0.9, unit="of its size")
    randaugment_operations: int = _field(
        0, "Random operations that RandAugment applies to each photo; 0 switches it off.", low=0, high=10
    )
    randaugment_magnitude: int = _field(9, "How strong RandAugment's operations are, of 30.", low=0, high=30)
    colour: float = _field(
        0.2, "Most that brightness, contrast and saturation change.", low=0, high=1, unit="of their value"
    )
    views: int = _field(
        4, "Pictures of each photo that a frozen backbone looks at, once: the photo as it is, and copies changed as "
        "above, of which an epoch draws one. Where trainable is head; otherwise copies are changed anew each epoch.",
        low=1, high=64, unit="pictures",
    )  # fmt: skip
    mixup: float = _field(
        0.0, "Strength of mixup (the Beta distribution's parameter); 0 switches it off.", low=0, high=10
    )
    cutmix: float = _field(
        0.0, "Strength of cutmix (the Beta distribution's parameter); 0 switches it off.", low=0, high=10
    )
    label_smoothing: float = _field(0.1, "Share of the target that is spread over all labels.", low=0, high=0.9)
    # the steps
    epochs: int = _field(8, "Passes over the training photos.", low=1, high=10_000, unit="epochs")
    patience: int = _field(
        0, "Epochs without a smaller validation loss after which it ends; 0 never.", low=0, high=10_000, unit="epochs"
    )
    batch_size: int = _field(64, "Photos a step.", low=1, high=65_536, unit="photos")
    accumulation: int = _field(
        1, "Parts in which a batch is computed one after the other, to spare memory.", low=1, high=1024, unit="parts"
    )
    balance: Literal["none", "weights", "oversampling"] = _field(
        "none", "Against labels with few photos: their loss weighs more, or their photos are drawn more often."
    )
    optimizer: Literal["adamw", "adam", "sgd"] = _field("adamw", "How a gradient becomes a step.")
    momentum: float = _field(
        0.9, "SGD's momentum, Adam's first beta; the one-cycle schedule sets its own.", low=0, high=0.9999
    )
    schedule: Literal["cosine", "one-cycle", "step", "constant"] = _field(
        "cosine", "How the learning rate goes from step to step."
    )
    learning_rate: float = _field(1e-4, "Highest learning rate of all layers but the head.", low=0, high=1e3)
    head_learning_rate: float = _field(3e-4, "Highest learning rate of the head.", low=0, high=1e3)
    warmup: float = _field(0.1, "Share of a cycle in which the learning rate rises to its highest.", low=0, high=1)
    cycles: int = _field(
        1, "How often the learning rate rises and falls (Loshchilov & Hutter 2017, arXiv:1608.03983).", low=1, high=1000
    )
    step_epochs: int = _field(
        10, "Epochs after which the step schedule lowers the learning rate.", low=1, high=10_000, unit="epochs"
    )
    step_factor: float = _field(0.1, "What the step schedule multiplies the learning rate by.", low=0, high=1)
    weight_decay: float = _field(
        0.05,
        "Decay of the weights (in Adam and SGD a part of the gradient); biases and norms are spared.",
        low=0,
        high=10,
    )
    clip_norm: float = _field(1.0, "Largest norm of a step's gradient; 0 does not clip.", low=0, high=1e6)
    clip_value: float = _field(0.0, "Largest value in a step's gradient; 0 does not clip.", low=0, high=1e6)
    average: float = _field(
        0.995,
        "Decay a step of the moving average of the weights, which is what is kept; 0 keeps the last.",
        low=0,
        high=0.99999,
    )
    precision: Literal["auto", "float32", "bfloat16"] = _field(
        "auto", "Arithmetic of the forward pass; auto is bfloat16 on a GPU and float32 on a processor."
    )
    seed: int = _field(1, "Decides every random draw.", low=0, high=2**31 - 1)

    def __post_init__(self) -> None:
        for field in fields():
            _check(field, getattr(self, field.name))
        _check_together(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Recipe":
        """Raises RecipeError, for a name that is no field with the nearest one."""
        if not isinstance(values, Mapping):
            raise RecipeError("recipe", "A recipe is an object with a value for each field.")
        known = [field.name for field in fields()]
        for name in values:
            if name not in known:
                near = get_close_matches(name, known, n=1)
                raise RecipeError(
                    name, f"A recipe has no field {name!r}." + (f" Did you mean {near[0]!r}?" if near else "")
                )
        return cls(**values)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values, one a field."""
        return dataclasses.asdict(self)

    def changed(self, **values: Any) -> "Recipe":
        """Another recipe with these fields; raises RecipeError."""
        return Recipe.from_dict(self.as_dict() | values)

    def as_architecture(self) -> dict[str, Any]:
        """The network as an artifact's spec names it: {"name": ..., "head": {"kind": "linear"}}."""
        head: dict[str, Any] = {"kind": "linear"}
        if self.head != "linear":
            layers = [int(width) for width in self.head.split("-")]
            head = {"kind": "dense", "layers": layers, "dropout": self.head_dropout}
        return {"name": self.architecture, "head": head}

    def preprocessing(self) -> Preprocessing:
        """What validation, test and use do with a photo."""
        side = self.evaluation_size or self.image_size
        mean, std = NORMALIZATIONS[self.normalization]
        return Preprocessing(resize=side, crop=side, mean=mean, std=std)


@dataclass(frozen=True)
class Field:
    """What a form shows of one field of a recipe."""

    name: str
    kind: type  # int, float or str
    choices: tuple[str, ...]
    default: Any
    low: float
    high: float
    unit: str
    help: str


def fields() -> tuple[Field, ...]:
    """The fields of a recipe in their order."""
    hints = get_type_hints(Recipe)
    return tuple(
        Field(
            name=field.name,
            kind=str if get_args(hints[field.name]) else hints[field.name],
            choices=get_args(hints[field.name]),
            default=field.default,
            low=field.metadata["low"],
            high=field.metadata["high"],
            unit=field.metadata["unit"],
            help=field.metadata["help"],
        )
        for field in dataclasses.fields(Recipe)
    )


def _check(field: Field, value: Any) -> None:
    if field.kind is str:
        if not isinstance(value, str) or not value or (field.choices and value not in field.choices):
            wanted = f"one of {', '.join(field.choices)}" if field.choices else "a name"
            raise RecipeError(field.name, f"{field.name} must be {wanted}, not {value!r}.")
        return
    allowed = (int, float) if field.kind is float else int
    if isinstance(value, bool) or not isinstance(value, allowed):
        kind = "a number" if field.kind is float else "a whole number"
        raise RecipeError(field.name, f"{field.name} must be {kind}, not {value!r}.")
    if not (field.low <= value <= field.high):  # a NaN is within no bounds
        unit = f" {field.unit}" if field.unit else ""
        raise RecipeError(
            field.name, f"{field.name} must lie between {field.low:g} and {field.high:g}{unit}, not {value!r}."
        )


def _check_together(recipe: Recipe) -> None:
    """What no single field shows."""
    if recipe.architecture not in KNOWN:
        near = get_close_matches(recipe.architecture, KNOWN, n=3, cutoff=0.4)
        hint = f" Did you mean {', '.join(near)}?" if near else ""
        raise RecipeError("architecture", f"architecture: there is none named {recipe.architecture!r}.{hint}")
    if not HEAD.fullmatch(recipe.head):
        raise RecipeError(
            "head", f"head must be linear or the sizes of its hidden layers, such as 512-256-128, not {recipe.head!r}."
        )
    if recipe.weights == "random" and recipe.trainable != "all":
        raise RecipeError("trainable", "trainable must be all where weights is random: nothing is learnt yet.")
    if recipe.weights == "random" and recipe.batch_norm == "frozen":
        raise RecipeError("batch_norm", "batch_norm must be trained where weights is random: nothing is learnt yet.")
    if recipe.trainable == "head" and recipe.cutmix:
        raise RecipeError(
            "cutmix", "cutmix must be 0 where trainable is head: a frozen backbone looks at each photo by itself."
        )
    if recipe.crop_padding >= recipe.photo_size:
        raise RecipeError(
            "crop_padding", f"crop_padding must be smaller than photo_size, which is {recipe.photo_size} pixels."
        )
    if 0 < recipe.evaluation_size < 8:
        raise RecipeError("evaluation_size", f"evaluation_size must be 0 or at least 8, not {recipe.evaluation_size}.")
