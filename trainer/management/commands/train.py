"""manage.py train --dataset NAME --preset PRESET --set field=value: train in the foreground, as the worker would."""

from pathlib import Path
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from trainer.models import Dataset, TrainingRun
from trainer.models.run import NAME
from trainer.models.supervising import device, supervise
from trainer.presets import PRESETS, changed
from trainer.recipe import Recipe, RecipeError


class Command(BaseCommand):
    help = (
        "Trains a network on a dataset, here and now; Ctrl-C puts the run back into the queue, where a worker goes on."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dataset", required=True, help="NAME or NAME:NUMBER of a dataset")
        parser.add_argument("--preset", choices=sorted(PRESETS), help="a named recipe (default: a recipe's defaults)")
        parser.add_argument(
            "--set", action="append", default=[], metavar="FIELD=VALUE", dest="changes", help="change a field of it"
        )
        parser.add_argument("--name", help="of the version that comes of it (default: that of the dataset)")

    def handle(
        self, *args: Any, dataset: str, preset: str | None, changes: list[str], name: str | None, **options: Any
    ) -> None:
        try:
            photos = Dataset.objects.named(dataset)
            recipe = changed(PRESETS[preset] if preset else Recipe(), changes)
            NAME(name or photos.name)
        except (Dataset.DoesNotExist, RecipeError) as error:
            raise CommandError(str(error)) from error
        except ValidationError as error:
            raise CommandError(f"--name {name!r}: {error.message}") from error
        run = TrainingRun.objects.create(
            dataset=photos,
            fingerprint=photos.fingerprint,
            recipe=recipe.as_dict(),
            name=name or photos.name,
            preset=preset or "",
        )
        claimed = TrainingRun.objects.filter(pk=run.pk).claim_next(device=device())
        if claimed is None:
            raise CommandError(f"This machine trains already: {run} waits in the queue.")
        self.stdout.write(f"{run} on {photos}; its log is {run.folder / 'log.txt'}")
        supervise(claimed, say=self.tell)
        run.refresh_from_db()
        self.close(run)

    def tell(self, event: dict[str, Any]) -> None:
        """A line an epoch; on a terminal also the step under way."""
        if event["event"] == "epoch":
            self.erase()
            self.stdout.write(
                f"epoch {event['number']}: loss {event['loss']:.4f}, validation loss {event['validation_loss']:.4f}, "
                f"top-1 {event['validation_top1']:.4f}, {event['images_per_second']:.0f} images/s"
            )
        elif event["event"] == "step" and self.stderr.isatty():
            rate = event["images_per_second"]
            self.stderr.write(f"\repoch {event['epoch']}, step {event['number']}, {rate:.0f} images/s\x1b[K", ending="")

    def erase(self) -> None:
        if self.stderr.isatty():
            self.stderr.write("\r\x1b[K", ending="")

    def close(self, run: TrainingRun) -> None:
        """How it ended. Raises CommandError unless there is a version or the run will go on."""
        self.erase()
        if run.status in (run.Status.FAILED, run.Status.PAUSED):
            raise CommandError(f"{run} is {run.status}: {run.failure}")
        if run.version is None:
            self.stdout.write(f"{run} is {run.status}.")
            return
        quality = run.version.card.quality
        measured = f": top-1 {quality.top1.value:.4f} on {quality.n} test photos" if quality else ""
        self.stdout.write(f"{run} is {run.status}; version {run.version} is a candidate{measured}.")
        self.stdout.write(f"It lies in {Path(run.version.path)}")
