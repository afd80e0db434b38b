"""What is missing of a run, or cannot be read any more: said beside it, so that whoever looks need not guess."""

from breedsite.storage import store
from classifier.artifact import ArtifactError
from trainer.models.run import TrainingRun
from trainer.recipe import Recipe, RecipeError


def damage(run: TrainingRun) -> str:
    """In words, with commas; empty for a run that is whole. It looks at files, and asks the database for nothing that
    a list of runs does not have."""
    return ", ".join(sentence for sentence, broken in FAULTS.items() if broken(run))


def unreadable(run: TrainingRun) -> bool:
    try:
        Recipe.from_dict(run.recipe)
    except RecipeError:
        return True
    return False


def version_unreadable(run: TrainingRun) -> bool:
    try:
        return run.version is not None and not run.version.card
    except ArtifactError:
        return True


FAULTS = {
    "its recipe cannot be read": unreadable,
    "its folder is missing": lambda run: bool(run.epochs.all()) and not (store().on or run.folder.is_dir()),
    "its version's folder is missing": lambda run: run.version is not None and run.version.is_missing,
    "its version cannot be read": version_unreadable,
    "the photos of its dataset are missing": lambda run: run.dataset.is_missing,
}
