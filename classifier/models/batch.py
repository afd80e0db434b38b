"""Many photos asked at once: a batch, its photos in order, and the chunks in which workers answer them.

A batch waits to be listed (which photos are there?), then its chunks are claimed one by one, by whoever is free, and
the last of them ends it. Photos are answered in groups of fixed places, so a chunk that is done twice, or gone on with
by another process, writes the same rows.
"""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

from django.conf import settings
from django.db import models, transaction
from django.db.models import F, Q, Sum
from django.utils import timezone

from breedsite.jobs import Job, JobQuerySet
from classifier.ensemble import Combine, NotTogether, common_labels
from classifier.models.chunk import TASK, BatchItem, Chunk
from classifier.models.keeping import drop_batch, tidy_batches
from classifier.models.version import ModelVersion
from classifier.results import Found, Row

MOST_FILES = 10_000  # sent one by one; more come as a zip
MOST_MEMBERS = 8  # versions together
ABANDONED = timedelta(days=1)  # of a batch whose photos never came


class BatchQuerySet(JobQuerySet["Batch"]):
    def seen_by(self, user: Any) -> BatchQuerySet:
        """Those that a person may see: their own, and all with the permission for it."""
        return self if user.has_perm("classifier.view_batch") else self.filter(created_by=user)

    def begin(
        self,
        versions: Sequence[ModelVersion],
        *,
        name: str = "",
        combine: str = Combine.MEAN,
        source: Path | None = None,
        by: Any = None,
        ring: bool = True,
    ) -> Batch:
        """A new batch: of a folder or zip on this machine, waiting for a worker; without `source`, waiting for photos.

        Raises NotTogether where the versions cannot answer together.
        """
        if not 1 <= len(versions) <= MOST_MEMBERS:
            raise NotTogether(f"Choose 1 to {MOST_MEMBERS} versions.")
        ordered = sorted(versions, key=lambda version: (-accuracy(version), -version.pk))
        labels = common_labels([version.card for version in ordered])
        with transaction.atomic():
            batch = self.create(
                name=name,
                combine=combine,
                labels=list(labels),
                created_by=by,
                status=Batch.Status.QUEUED if source else Batch.Status.RECEIVING,
                source_kind=Batch.SourceKind.SERVER if source else "",
                source_name=source.name if source else "",
                source_path=str(source or ""),
            )
            batch.versions.set(ordered)
            if source and ring:
                transaction.on_commit(Batch.ring)
        return batch


def accuracy(version: ModelVersion) -> float:
    """Measured on photos that its training never saw, 0..1; 0 where nobody measured, or its row is damaged."""
    try:
        return float(version.spec["quality"]["top1"]["value"])
    except (KeyError, TypeError, ValueError):
        return 0.0


class Batch(Job):
    """Photos that came together, and what versions say of each."""

    class Status(models.TextChoices):
        RECEIVING = "receiving", "waiting for photos"
        QUEUED = "queued", "queued"
        LISTING = "listing", "looking what is there"
        PREDICTING = "predicting", "predicting"
        FINISHED = "finished", "finished"
        STOPPED = "stopped", "stopped"
        FAILED = "failed", "failed"

    class SourceKind(models.TextChoices):
        FILES = "files", "photos"
        ZIP = "zip", "a zip"
        SERVER = "server", "a folder or zip on the server"

    AT_WORK: ClassVar[str] = Status.LISTING
    HELD: ClassVar[tuple[str, ...]] = (Status.LISTING,)
    WAITING: ClassVar[tuple[str, ...]] = (Status.RECEIVING, Status.QUEUED, Status.PREDICTING)
    ACTIVE: ClassVar[frozenset[str]] = frozenset({*WAITING, *HELD})
    TERMINAL: ClassVar[frozenset[str]] = frozenset(Status) - ACTIVE
    TASK: ClassVar[str] = TASK
    QUEUE: ClassVar[str] = "batch"

    name = models.CharField(max_length=100, blank=True)
    status = models.CharField(max_length=16, choices=Status.choices, default=Status.RECEIVING, db_index=True)
    versions = models.ManyToManyField(ModelVersion, related_name="batches")
    combine = models.CharField(max_length=8, choices=[(one.value, one.value) for one in Combine], default=Combine.MEAN)
    labels = models.JSONField(default=list, help_text="in the order of the probabilities")
    source_kind = models.CharField("source", max_length=16, choices=SourceKind.choices, blank=True)
    source_name = models.CharField("from", max_length=255, blank=True)
    source_path = models.CharField(max_length=1000, blank=True, help_text="where workers read it")
    notes = models.JSONField(default=list, help_text="what a person should know about the source")
    device = models.CharField(max_length=100, blank=True, help_text="what answered")
    photos_gone_at = models.DateTimeField(null=True, editable=False)  # since then the answers alone are here
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+")

    objects = BatchQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-pk"]
        verbose_name_plural = "batches"

    def __str__(self) -> str:
        return self.name or f"batch {self.pk}"

    @property
    def folder(self) -> Path:
        """Its own place: what was sent lies here."""
        return Path(settings.BATCHES_DIR) / str(self.pk)

    @property
    def members(self) -> list[ModelVersion]:
        """The versions that answer, the best first."""
        return sorted(self.versions.all(), key=lambda version: (-accuracy(version), -version.pk))

    @property
    def counts(self) -> dict[str, int]:
        """Photos that were answered, and those that could not be."""
        rows = self.items.order_by().values_list("status").annotate(n=models.Count("pk"))
        return {status: dict(rows).get(status, 0) for status in BatchItem.Status.values}

    def found(self) -> Found:
        """All its rows, in order, a few in memory at a time."""
        return Found(self.labels, [str(version) for version in self.members], self.combine, self._rows_found())

    def _rows_found(self) -> Iterator[Row]:
        """By position and not by one query, which a slow reader would keep open, and with it SQLite's log of writes."""
        last = -1
        while some := list(self.items.filter(position__gt=last).order_by("position")[:500]):
            yield from (item.row() for item in some)
            last = some[-1].position

    # --- what people do -------------------------------------------------------------------------------------------
    def send_off(self) -> bool:
        """Nothing more will be sent: the worker may begin. False where that was said before."""
        done = bool(self._rows().filter(pk=self.pk, status=self.Status.RECEIVING).update(status=self.Status.QUEUED))
        if done:
            self.status = self.Status.QUEUED
            transaction.on_commit(self.ring)
        return done

    def stop(self) -> bool:
        """What is answered stays."""
        with transaction.atomic():
            stopped = super().stop()
            if stopped:
                self._stop_chunks()
        return stopped

    def _stop_chunks(self) -> None:
        for chunk in self.chunks.filter(status__in=(*Chunk.WAITING, *Chunk.HELD)):
            chunk.stop()

    def resume(self) -> bool:
        """Go on with what a stop or a failure left. False where nothing is left, or the photos are gone."""
        ended = (self.Status.STOPPED, self.Status.FAILED)
        if self.photos_gone_at or not self._rows().filter(pk=self.pk, status__in=ended).exists():
            return False
        with transaction.atomic():
            left = self.chunks.exclude(status=Chunk.Status.FINISHED)
            listed = self.chunks.exists()
            if listed and not left.exists():
                return False
            left.update(
                status=Chunk.QUEUED,
                stop_requested=False,
                deaths=0,
                due_at=None,
                finished_at=None,
                failure="",
                token=None,
            )
            again = self.Status.PREDICTING if listed else self.Status.QUEUED
            fresh: dict[str, Any] = {"stop_requested": False, "finished_at": None, "failure": "", "deaths": 0}
            done = self._rows().filter(pk=self.pk, status__in=ended).update(status=again, token=None, **fresh)
            transaction.on_commit(self.ring)
        self.refresh_from_db()
        return bool(done)

    def delete(self, *args: Any, **options: Any) -> tuple[int, dict[str, int]]:
        """With what was sent; a folder on the server stays as it is."""
        folder, pk = self.folder, self.pk
        deleted = super().delete(*args, **options)
        transaction.on_commit(lambda: shutil.rmtree(folder, ignore_errors=True))
        transaction.on_commit(lambda: drop_batch(pk))
        return deleted

    # --- for the workers ------------------------------------------------------------------------------------------
    def listed(self, names: Sequence[str], *, chunk_size: int, **fields: Any) -> bool:
        """Its photos are known, in this order: they may be answered. False when the row is no longer ours.

        Those that were sent one by one have their rows already, some with a refusal.
        """
        with transaction.atomic():
            self.chunks.all().delete()
            if self.source_kind != self.SourceKind.FILES:
                self.items.all().delete()
                BatchItem.objects.bulk_create(
                    (BatchItem(batch=self, position=position, name=name) for position, name in enumerate(names)),
                    batch_size=1000,
                )
            told = self.items.exclude(status=BatchItem.Status.PENDING).values_list("position", flat=True)
            done = Counter(position // chunk_size for position in told)
            Chunk.objects.bulk_create(
                Chunk(batch=self, start=start, stop_at=min(start + chunk_size, len(names)), progress_done=done[number])
                for number, start in enumerate(range(0, len(names), chunk_size))
            )
            ours = self._let_go(
                status=self.Status.PREDICTING, progress_total=len(names), progress_done=done.total(), **fields
            )
            if not ours:
                transaction.set_rollback(True)
            elif self.status == self.STOPPED:
                self._stop_chunks()
        return ours

    def came_further(self, count: int) -> None:
        """So many more of its photos are done."""
        self._rows().filter(pk=self.pk).update(progress_done=F("progress_done") + count)

    def settle(self) -> None:
        """Say how far its chunks are; end it when the last of them has ended."""
        with transaction.atomic():
            rows = self._rows().filter(pk=self.pk)
            # Who stores an answer meanwhile waits, and adds to what is said here: else an older sum would have the last
            # word. (On SQLite, where this locks nothing, he waits from the transaction's start.)
            list(rows.select_for_update().values_list("pk"))
            rows.update(progress_done=self.chunks.aggregate(done=Sum("progress_done"))["done"] or 0)
            if self.chunks.filter(status__in=(*Chunk.WAITING, *Chunk.HELD)).exists():
                return
            failure = self.chunks.filter(status=Chunk.FAILED).values_list("failure", flat=True).first()
            status = self.Status.FAILED if failure else self.Status.FINISHED
            ends: dict[str, Any] = {"status": status, "failure": failure or "", "finished_at": timezone.now()}
            rows.filter(status=self.Status.PREDICTING).update(**ends)

    @classmethod
    def wake(cls) -> None:
        """End those whose last chunk was ended by the death of its worker."""
        for batch in cls.objects.filter(status=cls.Status.PREDICTING):
            batch.settle()

    @classmethod
    def tidy(cls) -> None:
        """Forget the photos of batches that ended long ago, those that never came, and folders without a row."""
        now = timezone.now()
        for batch in cls.objects.filter(status=cls.Status.RECEIVING, created_at__lt=now - ABANDONED):
            batch.stop()
        kept = timedelta(days=settings.BATCH_KEEP_DAYS)
        over = Q(status__in=cls.TERMINAL, finished_at__lt=now - kept, photos_gone_at=None)
        for batch in cls.objects.filter(over):
            shutil.rmtree(batch.folder, ignore_errors=True)
            drop_batch(batch.pk)
            cls.objects.filter(pk=batch.pk).update(photos_gone_at=now)
        folders = {folder.name: folder for folder in Path(settings.BATCHES_DIR).glob("[0-9]*")}  # before the rows
        rows = cls.objects.filter(pk__in=folders.keys())
        known = set(map(str, rows.values_list("pk", flat=True)))
        for pk in rows.exclude(photos_gone_at=None).values_list("pk", flat=True):  # another host forgot them
            shutil.rmtree(folders[str(pk)], ignore_errors=True)
        for name in folders.keys() - known:
            # A young one may be of a batch whose row is not committed yet.
            with suppress(FileNotFoundError):
                if time.time() - folders[name].stat().st_mtime > ABANDONED.total_seconds():
                    shutil.rmtree(folders[name], ignore_errors=True)
        tidy_batches()
