"""Named recipes, and changes of single fields as they are typed."""

import json
from collections.abc import Iterable

from trainer.recipe import Recipe, RecipeError, fields

TEXTS = frozenset(field.name for field in fields() if field.kind is str)

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

PRESETS = {"starter": STARTER}


def changed(recipe: Recipe, changes: Iterable[str]) -> Recipe:
    """The recipe with "field=value" changes; raises RecipeError."""
    values = recipe.as_dict()
    for change in changes:
        name, equals, text = change.partition("=")
        if not equals:
            raise RecipeError(name, f"A change of a recipe is written field=value, not {change!r}.")
        try:
            values[name] = text if name in TEXTS else json.loads(text)
        except ValueError:  # not a number: the recipe refuses it by name
            values[name] = text
    return Recipe.from_dict(values)
