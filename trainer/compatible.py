"""Whether a recipe and its network go together: what only the network itself can tell, asked before anything starts."""

import logging

from classifier.networks import catalogue
from classifier.networks.table import SizeError, table
from trainer.recipe import NORMALIZATIONS, Recipe, RecipeError
from trainer.weights import WeightsError, missing

log = logging.getLogger(__name__)


def check(recipe: Recipe, *, label_count: int, published: bool) -> None:
    """Raise RecipeError, or WeightsError where `published` weights are wanted that nobody published."""
    sizes(recipe, label_count=label_count)
    if published:
        normalization(recipe)


def sizes(recipe: Recipe, *, label_count: int) -> None:
    """Raise RecipeError unless the network takes the pictures of training and those of evaluation."""
    for field, side in (("image_size", recipe.image_size), ("evaluation_size", recipe.preprocessing().crop)):
        try:
            table(recipe.as_architecture(), label_count=label_count, image_size=side)
        except SizeError as error:
            raise RecipeError(field, f"{field}: {error}") from error
        except NotImplementedError as error:
            log.warning("Whether it takes pictures of %d pixels will be seen: %s", side, error)


def normalization(recipe: Recipe) -> None:
    """Raise RecipeError unless the recipe normalizes pixels as the published weights expect them, or nearly so; and
    WeightsError where nobody published any.
    """
    family = catalogue.family(recipe.architecture)
    if family.weights_file(recipe.architecture) is None:
        raise WeightsError(missing(recipe.architecture, None, None))
    mean, std = family.normalization(recipe.architecture)

    def distance(choice: str) -> float:
        ours = NORMALIZATIONS[choice]
        return max(abs(a - b) for a, b in zip((*mean, *std), (*ours[0], *ours[1]), strict=True))

    wanted = min(NORMALIZATIONS, key=distance)
    if recipe.normalization != wanted:
        raise RecipeError(
            "normalization",
            f"normalization must be {wanted} for {recipe.architecture}, for its published weights learnt from pixels "
            f"with mean {mean[0]:.3f} and deviation {std[0]:.3f}.",
        )
