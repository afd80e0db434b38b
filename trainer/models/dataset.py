"""A dataset: photos with labels, divided once, and never changed after a network was trained on it."""

from __future__ import annotations

import hashlib
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from django.conf import settings
from django.core.validators import RegexValidator
from django.db import IntegrityError, models, transaction
from django.db.models import Count, Max, Q
from django.utils import timezone

from breedsite.jobs import Job, JobQuerySet
from breedsite.storage import store
from classifier import examples
from classifier.sources.listing import SourceError
from trainer.ingest import source
from trainer.ingest.layout import clean_label
from trainer.ingest.record import Record
from trainer.models.leftovers import sweep
from trainer.models.sharing import bring_photo, drop_photos, tidy_datasets
from trainer.split import PARTS

NAME = RegexValidator(r"^[a-z0-9][a-z0-9_-]{0,63}\Z", "Use small letters, digits, hyphens and underscores, at most 64.")


class DatasetQuerySet(JobQuerySet["Dataset"]):
    def ready(self) -> DatasetQuerySet:
        """Those that can be trained on."""
        return self.filter(status=Dataset.Status.READY)

    def named(self, name: str) -> Dataset:
        """The dataset that a person means by NAME (its newest ready version) or NAME:NUMBER.

        Raises DoesNotExist with a sentence.
        """
        label, _, number = name.partition(":")
        of_name = self.ready().filter(name=label).order_by("-number")
        if number:
            of_name = of_name.filter(number=int(number)) if number.isdecimal() and len(number) < 10 else self.none()
        if (dataset := of_name.first()) is None:
            known = ", ".join(map(str, self.ready().order_by("name", "number"))) or "none"
            raise self.model.DoesNotExist(f"There is no dataset {name!r}. Ready: {known}.")
        return dataset

    def enqueue(self, name: str, source_path: Path, **fields: Any) -> Dataset:
        """A new row with the next number of its name, waiting to be imported; a worker is rung for after the commit."""
        dataset = self.numbered(name, source_path, **fields)
        transaction.on_commit(self.model.ring)
        return dataset

    def begin(self, name: str, source_path: Path, **fields: Any) -> Dataset:
        """A new row that this process imports itself."""
        now = timezone.now()
        ours = {"status": Dataset.Status.IMPORTING, "token": uuid.uuid4(), "attempt": 1}
        return self.numbered(name, source_path, heartbeat_at=now, started_at=now, **ours, **fields)

    def numbered(self, name: str, source_path: Path, **fields: Any) -> Dataset:
        for _ in range(100):  # each failure is the success of another
            last = self.filter(name=name).aggregate(last=Max("number"))["last"] or 0
            with suppress(IntegrityError), transaction.atomic():
                return self.create(name=name, number=last + 1, source_path=str(source_path), **fields)
        raise SourceError(f"{name} got no number: too many datasets of this name are being imported.")


class Dataset(Job):
    """One version of a dataset: imported once, then read alone."""

    class Status(models.TextChoices):
        QUEUED = "queued", "queued"
        IMPORTING = "importing", "importing"
        READY = "ready", "ready"
        REFUSED = "refused", "refused"  # the photos must be mended first: the report says what
        FAILED = "failed", "failed"
        CANCELLED = "cancelled", "cancelled"

    AT_WORK: ClassVar[str] = Status.IMPORTING
    HELD: ClassVar[tuple[str, ...]] = (Status.IMPORTING,)
    STOPPED: ClassVar[str] = Status.CANCELLED
    TASK: ClassVar[str] = "trainer.tasks.import_datasets"
    QUEUE: ClassVar[str] = "import"
    ACTIVE: ClassVar[frozenset[str]] = frozenset({Status.QUEUED, Status.IMPORTING})
    TERMINAL: ClassVar[frozenset[str]] = frozenset(Status) - ACTIVE

    class SourceKind(models.TextChoices):
        UPLOAD = "upload", "zip sent by the browser"
        SERVER = "server", "folder or zip on the server"
        BUILTIN = "builtin", "built-in set"

        @classmethod
        def of(cls, path: Path) -> Dataset.SourceKind:
            """Of a path on this machine."""
            return cls.BUILTIN if source.is_builtin(path) else cls.SERVER

    name = models.CharField(max_length=64, validators=[NAME])
    number = models.PositiveIntegerField()
    status = models.CharField(max_length=16, choices=Status.choices, default=Status.QUEUED, db_index=True)
    source_kind = models.CharField("source", max_length=16, choices=SourceKind.choices)
    source_name = models.CharField("from", max_length=255, help_text="the name of the file, folder or set")
    source_path = models.CharField(max_length=1000, help_text="where the import reads it")
    options = models.JSONField(default=dict, help_text="fractions, seed and other names for labels")
    labels = models.JSONField(default=list, help_text="in the order of a network's outputs")
    fingerprint = models.CharField(max_length=64, blank=True, help_text="sha256 of pixels, labels and parts")
    report = models.JSONField(default=dict, help_text="what is in it and what is wrong with it")
    counts = models.JSONField(default=dict, help_text="photos of each part")
    folder = models.CharField(max_length=100, blank=True, help_text="inside DATASETS_DIR")
    parent = models.ForeignKey("self", models.PROTECT, null=True, blank=True, related_name="children")
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+")

    objects = DatasetQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-pk"]
        constraints = [models.UniqueConstraint(fields=["name", "number"], name="one_dataset_a_number")]

    def __str__(self) -> str:
        return f"{self.name}:{self.number}"

    @classmethod
    def tidy(cls) -> None:
        """Remove what imports left whose process was killed."""
        sweep(cls.objects.all())
        tidy_datasets()

    @property
    def path(self) -> Path:
        return Path(settings.DATASETS_DIR) / self.folder

    @property
    def is_missing(self) -> bool:
        """Whether somebody took its photos away; of a storage that hosts share nobody is asked."""
        return self.status == self.Status.READY and not store().on and not self.path.is_dir()

    @property
    def known_labels(self) -> list[str]:
        """Its labels; none where the row is damaged."""
        return self.labels if isinstance(self.labels, list) else []

    @property
    def used(self) -> bool:
        """Whether a run was started on it: then it stays, for the run's figures say nothing without it."""
        return self.runs.exists()

    @property
    def may_go(self) -> bool:
        """Whether it may be deleted: it is at rest, and nothing was made of it."""
        return self.status in self.TERMINAL and not self.used and not self.children.exists()

    def delete(self, *args: Any, **options: Any) -> tuple[int, dict[str, int]]:
        """With its files. Raises ProtectedError for one that a run or a later version was made of."""
        folder = self.path if self.folder else None
        deleted = super().delete(*args, **options)
        if folder is not None:
            transaction.on_commit(partial(shutil.rmtree, folder, ignore_errors=True))
            transaction.on_commit(partial(drop_photos, folder.name))
        return deleted

    def edit(self, changes: Mapping[int, Mapping[str, Any]], *, by: Any = None) -> Dataset:
        """The next version of this dataset, with other labels for some photos or without them; this one stays as it is.

        `changes` are `{"label": name}`, `{"excluded": bool}` or both, by the photo's primary key. Raises SourceError.
        """
        known = set(self.photos.filter(pk__in=list(changes)).values_list("pk", flat=True))
        if not changes or known != set(changes):
            raise SourceError(f"These are not photos of {self}.")
        clean = {}
        for pk, change in changes.items():
            if not change or not change.keys() <= {"label", "excluded"}:
                raise SourceError("A change names a label, or whether the photo is left out.")
            if "label" in change:
                change = {**change, "label": clean_label(str(change["label"]))}
            clean[str(pk)] = {**change, "excluded": bool(change["excluded"])} if "excluded" in change else change
        return Dataset.objects.enqueue(
            self.name,
            Path(self.source_path),
            source_kind=self.source_kind,
            source_name=self.source_name,
            options={**self.options, "changes": clean},
            parent=self,
            created_by=by,
        )

    def show(self, photo: int, shown: bool) -> None:
        """Make a photo, by its primary key, an example on the front page, or end that: a matter of looks, which changes
        nothing that is trained. Raises SourceError, and Photo.DoesNotExist."""
        with transaction.atomic():
            Dataset.objects.select_for_update().get(pk=self.pk)  # two at once must not pass the limit together
            found = self.photos.get(pk=photo)
            others = self.photos.examples().exclude(pk=photo).count()
            if shown and found.excluded:
                raise SourceError(f"{found} is left out of {self}: it cannot be an example.")
            if shown and others >= examples.MOST:
                raise SourceError(f"{self} has {examples.MOST} examples already: take one of them away first.")
            self.photos.filter(pk=photo).update(example=shown)

    def records(self, part: str) -> Iterator[Record]:
        """The photos of a part in the order of their pixels' digests, without those excluded. What `read` gives was
        checked against its digest: it raises SourceError, with the name, for a file that changed or is gone."""
        assert part in PARTS
        photos = self.photos.filter(part=part, excluded=False).order_by("pixels", "pk")
        for photo in photos.iterator(chunk_size=2000):
            yield Record(photo.name, photo.label, partial(read, photo.file(self.path), photo.sha256, photo.name), part)

    def count_photos(self) -> dict[str, int]:
        """Photos of each part, without those excluded."""
        rows = self.photos.filter(excluded=False).values_list("part").annotate(Count("pk"))
        return {part: dict(rows).get(part, 0) for part in PARTS}


class PhotoQuerySet(models.QuerySet["Photo"]):
    def examples(self) -> PhotoQuerySet:
        """Those that visitors may click on the front page."""
        return self.filter(example=True)

    def examples_of(self, digest: str) -> PhotoQuerySet:
        """Those of the dataset that the version of this digest was trained on, with their dataset."""
        trained = Dataset.objects.filter(runs__version__digest=digest)
        return self.examples().filter(dataset__in=trained).select_related("dataset").order_by("pk")


class Photo(models.Model):
    """One photo of a dataset; its file is named by its content."""

    class Part(models.TextChoices):
        TRAIN = "train", "train"
        VALIDATION = "validation", "validation"
        TEST = "test", "test"

    dataset = models.ForeignKey(Dataset, models.CASCADE, related_name="photos", db_index=False)
    label = models.CharField(max_length=255)
    part = models.CharField(max_length=16, choices=Part.choices)
    sha256 = models.CharField(max_length=64)  # of the file
    suffix = models.CharField(max_length=5)  # of the file: .jpg, .png, .webp
    pixels = models.CharField(max_length=64)  # SHA-256 of the decoded picture
    phash = models.CharField(max_length=16)  # 64 bits in hexadecimal
    group = models.PositiveIntegerField()  # duplicates and near duplicates have the same
    flag = models.CharField(max_length=16, blank=True)  # why a person should look at it
    name = models.CharField(max_length=2000)  # in the source: text, never a path of ours
    bytes = models.PositiveIntegerField()
    width = models.PositiveIntegerField()
    height = models.PositiveIntegerField()
    excluded = models.BooleanField(default=False)
    example = models.BooleanField(default=False)  # on the front page, while a version of this dataset answers

    objects = PhotoQuerySet.as_manager()

    class Meta:
        ordering = ["pk"]
        indexes = [
            models.Index(fields=["dataset", "id"], name="photo_page"),
            models.Index(fields=["dataset", "label", "id"], name="photo_label_page"),
            models.Index(fields=["dataset", "part", "label", "id"], name="photo_part_page"),
            models.Index(fields=["dataset", "flag", "id"], name="photo_flag_page"),
            models.Index(fields=["dataset", "part", "excluded", "pixels"], name="photo_records"),
            models.Index(fields=["dataset", "id"], condition=Q(example=True), name="photo_examples"),
        ]

    def __str__(self) -> str:
        return self.name

    def file(self, folder: Path) -> Path:
        """Where it lies in the folder of its dataset."""
        return folder / self.sha256[:2] / f"{self.sha256}{self.suffix}"


def read(file: Path, sha256: str, name: str) -> bytes:
    try:
        data = file.read_bytes()
    except FileNotFoundError as error:
        if bring_photo(file, sha256):
            return read(file, sha256, name)
        raise SourceError(f"The photo {name} is gone: {file.name} is not in the dataset's folder any more.") from error
    if hashlib.sha256(data).hexdigest() != sha256:
        raise SourceError(f"The photo {name} has changed since it was imported: {file.name} is not what it was.")
    return data
