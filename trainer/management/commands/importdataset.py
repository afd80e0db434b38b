"""manage.py importdataset PATH --name NAME: photos in a folder or a zip become a dataset."""

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from classifier.sources.listing import SourceError
from trainer.ingest import download, table
from trainer.models import Dataset
from trainer.models.dataset import NAME
from trainer.models.importing import FRACTIONS, SEED, Progress, perform
from trainer.presets import CATALOGUE


class Command(BaseCommand):
    help = "Reads the photos in a folder or a zip, divides them, and keeps them as a dataset to train on."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("path", type=Path, help=f"a zip, a folder, or one of {', '.join(download.SETS)}")
        parser.add_argument("--name", required=True, help="of the dataset; each import of a name is its next version")
        parser.add_argument("--seed", type=int, default=SEED, help="of the division (default: 1)")
        parser.add_argument(
            "--fractions",
            type=float,
            nargs=3,
            metavar=("TRAIN", "VALIDATION", "TEST"),
            help="shares that sum to 1 (default: 0.8 0.1 0.1)",
        )
        parser.add_argument(
            "--preset", choices=sorted(CATALOGUE), help="divide as the system does that this preset is named after"
        )
        parser.add_argument("--rename", type=Path, metavar="FILE", help="CSV of a folder's name and its label")

    def handle(
        self,
        *args: Any,
        path: Path,
        name: str,
        seed: int,
        fractions: list[float] | None,
        preset: str | None,
        rename: Path | None,
        **options: Any,
    ) -> None:
        try:
            NAME(name)
            table_of_names = table.renaming(rename.read_bytes()) if rename else {}
        except ValidationError as error:
            raise CommandError(f"--name {name!r}: {error.message}") from error
        except (OSError, SourceError) as error:
            raise CommandError(f"--rename {rename}: {error}") from error
        if fractions is not None and preset is not None:
            raise CommandError("--fractions and --preset both say how the photos are divided: give one of them.")
        fractions = fractions or list(CATALOGUE[preset].fractions if preset else FRACTIONS)
        if abs(sum(fractions) - 1) > 1e-9 or min(fractions) <= 0:
            raise CommandError("--fractions: three shares above 0 that sum to 1.")
        known = download.key(str(path))
        if known in download.SETS and not path.exists():
            place, kind = Path(settings.SETS_DIR) / known, Dataset.SourceKind.BUILTIN
        else:
            place, kind = path.resolve(), Dataset.SourceKind.of(path)
        dataset = Dataset.objects.begin(
            name,
            place,
            source_kind=kind,
            source_name=path.name,
            options={"seed": seed, "fractions": fractions, "rename": table_of_names},
        )
        try:
            perform(dataset, say=self.progress)
        except KeyboardInterrupt:
            raise CommandError(f"{dataset} is cancelled; nothing of it was kept.") from None
        self.tell(dataset)

    def progress(self, progress: Progress) -> None:
        if self.stderr.isatty():
            left = "" if progress.remaining_seconds is None else f", {progress.remaining_seconds:.0f} s left"
            self.stderr.write(f"\r{progress.done} of {progress.total} photos{left}\x1b[K", ending="")

    def tell(self, dataset: Dataset) -> None:
        """The report in a few lines. Raises CommandError where there is no dataset to train on."""
        if self.stderr.isatty():
            self.stderr.write("")
        report = dataset.report
        for sentence in [*report.get("notes", ()), *report.get("warnings", ())]:
            self.stdout.write(f"- {sentence}")
        if dataset.status == Dataset.Status.QUEUED:
            raise CommandError(f"{dataset} was interrupted and waits in the queue, where a worker begins it anew.")
        if dataset.status != Dataset.Status.READY:
            refusals = report.get("refusals") or [dataset.failure]
            raise CommandError(f"{dataset} is {dataset.status}:\n" + "\n".join(f"- {line}" for line in refusals))
        counts = ", ".join(f"{part} {count}" for part, count in dataset.counts.items())
        self.stdout.write(f"{report['layout']} {report['division']}")
        self.stdout.write(f"{dataset} is ready: {len(dataset.labels)} labels; {counts}; {dataset.fingerprint[:12]}.")
