"""What the commands share that do the work of a run here and now: their arguments, the claim, the end."""

from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from trainer.models import Dataset, TrainingRun
from trainer.models.run import NAME
from trainer.models.supervising import claim, supervise
from trainer.presets import PRESETS, changed
from trainer.rates import reference
from trainer.recipe import Recipe, RecipeError


class Foreground(BaseCommand):
    """`tell` hears every event; `close` says how it ended."""

    KIND = TrainingRun.Kind.TRAINING

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dataset", required=True, help="NAME or NAME:NUMBER of a dataset")
        parser.add_argument("--preset", choices=sorted(PRESETS), help="a named recipe (default: a recipe's defaults)")
        parser.add_argument(
            "--set", action="append", default=[], metavar="FIELD=VALUE", dest="changes", help="change a field of it"
        )
        parser.add_argument(
            "--continue", type=int, dest="parent", metavar="RUN", help="start from the version of this run: its number"
        )
        parser.add_argument("--name", help="of the version that comes of it (default: that of the dataset)")

    def handle(
        self,
        *args: Any,
        dataset: str,
        preset: str | None,
        changes: list[str],
        parent: int | None,
        name: str | None,
        **options: Any,
    ) -> None:
        try:
            photos = Dataset.objects.named(dataset)
            recipe = changed(PRESETS[preset] if preset else Recipe(), changes)
            if self.KIND == TrainingRun.Kind.RANGE_TEST:
                reference(recipe)
            NAME(name or photos.name)
        except (Dataset.DoesNotExist, RecipeError) as error:
            raise CommandError(str(error)) from error
        except ValidationError as error:
            raise CommandError(f"--name {name!r}: {error.message}") from error
        earlier = self.earlier(parent, photos, recipe) if parent is not None else None
        run = TrainingRun.objects.create(
            dataset=photos,
            fingerprint=photos.fingerprint,
            recipe=recipe.as_dict(),
            name=name or photos.name,
            preset=preset or "",
            kind=self.KIND,
            parent=earlier,
        )
        claimed = claim(TrainingRun.objects.filter(pk=run.pk))
        if claimed is None:
            raise CommandError(f"This machine trains already: {run} waits in the queue.")
        self.stdout.write(f"{run} on {photos}; its log is {run.folder / 'log.txt'}")
        supervise(claimed, say=self.tell)
        self.erase()
        run.refresh_from_db()
        if run.status in (run.Status.FAILED, run.Status.PAUSED):
            raise CommandError(f"{run} is {run.status}: {run.failure}")
        self.close(run)

    def earlier(self, number: int, dataset: Dataset, recipe: Recipe) -> TrainingRun:
        """The run whose version such a run starts from. Raises CommandError."""
        run = TrainingRun.objects.filter(pk=number).first()
        if run is None or not run.may_continue:
            raise CommandError(f"--continue {number}: there is no run of this number that has ended with a version.")
        if why := run.unfit_for(dataset, recipe):
            raise CommandError(why)
        return run

    def tell(self, event: dict[str, Any]) -> None:
        """On a terminal how far it is with what comes before the first step and after the last one."""
        if "phase" in event:
            line = f"{event['phase']} {event['done']:,} of {event['total']:,}"
            self.write_over(line + left(event["remaining_seconds"]))

    def close(self, run: TrainingRun) -> None:
        raise NotImplementedError

    def write_over(self, line: str) -> None:
        """In the place of what stood there before, on a terminal."""
        if self.stderr.isatty():
            self.stderr.write(f"\r{line}\x1b[K", ending="")

    def erase(self) -> None:
        self.write_over("")


def left(seconds: float | None) -> str:
    """The end of a line of progress, as on a run's page; nothing while nobody knows."""
    if seconds is None:
        return ""
    if seconds > 5400:
        return f", about {seconds / 3600:.1f} hours left"
    return f", about {seconds / 60:.0f} minutes left" if seconds > 90 else f", about {seconds:.0f} seconds left"
