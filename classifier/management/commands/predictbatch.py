"""manage.py predictbatch SOURCE: what the photos of a folder or zip show, as a table or JSON lines."""

import sys
import time
from argparse import ArgumentParser
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from classifier.decoding import Decoders
from classifier.ensemble import Combine, NotTogether
from classifier.models import Batch, Chunk, ModelVersion
from classifier.models.predicting import claim, decoding, enlist, predict
from classifier.results import FORMATS

LOOK_SECONDS = 0.5  # between two looks, where a worker of this machine answers


class Command(BaseCommand):
    help = (
        "Answers every photo of a folder or zip: a line for each, in order, a code for one that cannot be used. The "
        "batch is kept: it is seen in the site, and `--resume` goes on with one that was interrupted."
    )

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        # Every Django command has a --version of its own, which tells Django's; here it chooses the model.
        return super().create_parser(prog_name, subcommand, conflict_handler="resolve", **kwargs)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("source", nargs="?", type=Path, help="a folder or a zip")
        parser.add_argument("--resume", type=int, metavar="BATCH", help="go on with this batch: its number")
        parser.add_argument(
            "--version", action="append", default=[], metavar="NAME[:NUMBER]|DIGEST", help="another than the active one"
        )
        parser.add_argument("--combine", choices=[one.value for one in Combine], default=Combine.MEAN.value)
        parser.add_argument("--name", default="", help="what to call the batch")
        parser.add_argument("--format", choices=sorted(FORMATS), default="csv")
        parser.add_argument("--out", type=Path, metavar="FILE", help="instead of standard output")

    def handle(self, *args: Any, source: Path | None, resume: int | None, **options: Any) -> None:
        if (source is None) == (resume is None):
            raise CommandError("Name a folder or zip, or a batch to --resume.")
        batch = self.again(resume) if resume is not None else self.begin(source, options)
        self.stderr.write(f"batch {batch.pk}; --resume {batch.pk} goes on with it")
        try:
            with decoding() as decoders:
                self.answer(batch, decoders)
        except KeyboardInterrupt:
            batch.stop()
            raise CommandError(f"Stopped: predictbatch --resume {batch.pk} goes on.") from None
        if batch.status != Batch.Status.FINISHED:
            raise CommandError(f"{batch} is {batch.status}. {batch.failure}".rstrip())
        out: Path | None = options["out"]
        with out.open("w", encoding="utf-8") if out else nullcontext(self.stdout) as opened:
            for line in FORMATS[options["format"]].write(batch.found()):
                opened.write(line)
        refused = batch.counts["refused"]
        self.stderr.write(f"{batch.progress_total} photos, {refused} of them could not be used")
        if refused:
            sys.exit(1)

    def begin(self, source: Path | None, options: dict[str, Any]) -> Batch:
        assert source is not None
        try:
            found = [ModelVersion.objects.named(name) for name in options["version"]]
            active = ModelVersion.objects.active()
            versions = found or ([active] if active else [])
            if not versions:
                raise CommandError("No version is active: manage.py importversion FOLDER --activate installs one.")
            return Batch.objects.begin(
                versions,
                name=options["name"],
                combine=options["combine"],
                source=source.expanduser().resolve(),
                ring=False,
            )
        except (ModelVersion.DoesNotExist, NotTogether) as error:
            raise CommandError(str(error)) from error

    def again(self, number: int) -> Batch:
        batch = Batch.objects.filter(pk=number).first()
        if batch is None:
            raise CommandError(f"There is no batch {number}.")
        if batch.status in Batch.TERMINAL and batch.status != Batch.Status.FINISHED and not batch.resume():
            raise CommandError(f"{batch} cannot go on: its photos are gone.")
        return batch

    def answer(self, batch: Batch, decoders: Decoders) -> None:
        """Do its work here, or look on where somebody else does."""
        said = -1
        while batch.status in Batch.ACTIVE:
            mine = Batch.objects.filter(pk=batch.pk).claim_next()
            chunk = None if mine else claim(Chunk.objects.filter(batch=batch))
            if mine is not None:
                enlist(mine)
            elif chunk is not None:
                predict(chunk, decoders)
            else:
                time.sleep(LOOK_SECONDS)
                batch.settle()
            batch.refresh_from_db()
            if batch.progress_done != said:
                said = batch.progress_done
                self.stderr.write(f"{said} of {batch.progress_total}", ending="\r" if self.stderr.isatty() else "\n")
