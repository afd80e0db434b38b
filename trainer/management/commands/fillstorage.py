"""manage.py fillstorage: what lies on this host alone goes into the storage that hosts share."""

import os
import secrets
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from breedsite.storage import Broken, StorageAway, named, store
from classifier import artifact
from classifier.artifact import ArtifactError
from classifier.models import Batch, ModelVersion, pieces
from classifier.models import keeping as classified
from trainer.models import Dataset, TrainingRun, carrying, sharing


class Command(BaseCommand):
    help = (
        "Puts the versions, photos and checkpoints that lie in DATA_DIR, and that rows name, into the storage of "
        "STORAGE_URL: once, where a site that had none gets one. What is there already is not sent again."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        if not store().on:
            raise CommandError("STORAGE_URL is not set: there is no storage to fill.")
        try:
            store().begin()
            self.versions()
            self.datasets()
            self.batches()
            self.runs()
        except StorageAway as error:
            raise CommandError(f"{error}; what went there before is there.") from error

    def versions(self) -> None:
        for version in ModelVersion.objects.order_by("pk"):
            if version.path.is_dir():
                try:
                    classified.share_version(version.path, artifact.verify(version.path), version.digest)
                except (ArtifactError, Broken) as error:
                    self.stderr.write(f"{version} is damaged, and stays behind: {error}")
                else:
                    self.stdout.write(f"{version} is in the storage")

    def datasets(self) -> None:
        for dataset in Dataset.objects.ready().order_by("pk"):
            if dataset.path.is_dir():
                there = {named(entry) for entry in store().entries(f"{sharing.DATASETS}/{dataset.folder}/")}
                photos = [sharing.piece(photo.file(dataset.path), photo.sha256) for photo in dataset.photos.iterator()]
                here = [one for one in photos if one.file.exists()]
                try:
                    store().push(one for one in here if one.name not in there)
                except Broken as error:
                    self.stderr.write(f"{dataset} has a damaged photo: {error}")
                    continue
                if len(here) == len(photos):
                    store().cache.mark(sharing.DATASETS, dataset.folder)
                self.stdout.write(f"{len(here)} of {len(photos)} photos of {dataset} are in the storage")
        for dataset in Dataset.objects.filter(status__in=Dataset.ACTIVE, source_kind=Dataset.SourceKind.UPLOAD):
            if sharing.upload(dataset).exists():
                pieces.share(sharing.upload(dataset), sharing.zip_of(sharing.upload(dataset)))

    def batches(self) -> None:
        for batch in Batch.objects.filter(photos_gone_at=None).order_by("pk"):
            if (batch.folder / "photos.zip").exists():
                classified.share_zip(batch)
            if batch.source_kind == Batch.SourceKind.FILES:
                self.name_files(batch)
                files = {file.name for file in (batch.folder / "files").glob("*")}
                classified.share_photos(batch, [one for one in batch.items.exclude(file="") if one.file in files])

    def name_files(self, batch: Batch) -> None:
        """Give those a name that came before files had names of their own."""
        for item in batch.items.filter(file="").iterator():
            file = batch.folder / "files" / f"{item.position:06d}"
            if file.exists():
                item.file = f"{artifact.sha256(file)}-{secrets.token_hex(4)}"
                os.link(file, file.with_name(item.file))
                item.save(update_fields=["file"])
                file.unlink()

    def runs(self) -> None:
        for run in TrainingRun.objects.order_by("pk"):
            carrying.share_answers(run)
            if run.status != run.Status.FINISHED:
                carrying.Carrier(run, None).carry()
