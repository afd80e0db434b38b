"""The learning rates of a recipe as one: which of them a range test varies, and what it makes of the others."""

from trainer.recipe import Recipe, RecipeError

HIGHEST = 1e3  # what a recipe takes


def reference(recipe: Recipe) -> float:
    """The rate that is varied: of what learns below the head, or of the head where nothing else does. The other one
    keeps its ratio to it. Raises RecipeError where both are 0."""
    rate = recipe.learning_rate if recipe.trainable != "head" else 0.0
    if not (rate or recipe.head_learning_rate):
        raise RecipeError(
            "learning_rate", "learning_rate must be above 0 for a range test: its ratio to that of the head stays."
        )
    return rate or recipe.head_learning_rate


def changes(recipe: Recipe, rate: float) -> dict[str, float]:
    """The fields of a recipe that trains at that rate, to two digits."""
    share = rate / reference(recipe)
    names = ("learning_rate", "head_learning_rate")
    return {name: min(float(f"{getattr(recipe, name) * share:.2g}"), HIGHEST) for name in names}
