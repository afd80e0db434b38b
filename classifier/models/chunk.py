"""The photos of a batch, and the chunks in which workers answer them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from django.db import models, transaction
from django.db.models import Q

from breedsite.jobs import Job, JobQuerySet
from classifier.problems import Refused
from classifier.results import Row

TASK = "classifier.tasks.predict_batches"


class Chunk(Job):
    """Some photos of a batch, one after the other in its order, that one process answers."""

    class Status(models.TextChoices):
        QUEUED = "queued", "queued"
        RUNNING = "running", "running"
        FINISHED = "finished", "finished"
        STOPPED = "stopped", "stopped"
        FAILED = "failed", "failed"

    TASK: ClassVar[str] = TASK
    QUEUE: ClassVar[str] = "batch"

    batch = models.ForeignKey("classifier.Batch", models.CASCADE, related_name="chunks")
    start = models.PositiveIntegerField()  # position of its first photo
    stop_at = models.PositiveIntegerField()  # position after its last photo
    device = models.CharField(max_length=100, blank=True)  # where it is answered

    objects = JobQuerySet["Chunk"].as_manager()

    class Meta:
        ordering = ["pk"]
        constraints = [
            models.UniqueConstraint(fields=["batch", "start"], name="one_chunk_a_place"),
            # Each takes all cores: two at a time on one machine would be no quicker, and leave no slot to other work.
            models.UniqueConstraint(fields=["device"], condition=Q(status="running"), name="one_chunk_a_device"),
        ]

    def __str__(self) -> str:
        return f"photos {self.start + 1} to {self.stop_at} of batch {self.batch_id}"

    @property
    def about(self) -> Job:
        return self.batch

    def answered(self, items: Sequence[BatchItem]) -> bool:
        """Store what was found of some of its photos. False, and nothing is stored, when the row is no longer ours."""
        with transaction.atomic():
            ours = self._change(progress_done=self.progress_done + len(items), deaths=0)
            if ours:
                # They are there and are changed, by one short statement: bulk_update spells out a CASE for each value.
                BatchItem.objects.bulk_create(
                    items, update_conflicts=True, unique_fields=["batch", "position"], update_fields=BatchItem.FOUND
                )
                self.batch.came_further(len(items))
        return ours


class BatchItem(models.Model):
    """One photo of a batch, and what was found in it."""

    class Status(models.TextChoices):
        PENDING = "pending", "not yet"
        ANSWERED = "answered", "answered"
        REFUSED = "refused", "cannot be used"

    FOUND: ClassVar[tuple[str, ...]] = (
        *("status", "code", "sentence", "label", "probability", "sure", "animated", "probabilities"),
    )

    batch = models.ForeignKey("classifier.Batch", models.CASCADE, related_name="items", db_index=False)
    position = models.PositiveIntegerField()  # from 0, in the order in which they came
    name = models.CharField(max_length=2000)  # in its source: text, never a path of ours
    file = models.CharField(max_length=80, blank=True)  # of a photo that was sent by itself: its sha256, then a number
    status = models.CharField(max_length=8, choices=Status.choices, default=Status.PENDING)
    code = models.CharField(max_length=32, blank=True)  # of a refusal: classifier.problems
    sentence = models.TextField(blank=True)
    label = models.CharField(max_length=255, blank=True)
    probability = models.FloatField(null=True)  # of that label, 0..1
    sure = models.BooleanField(null=True)
    animated = models.BooleanField(default=False)
    probabilities = models.BinaryField(null=True)  # (K,) float32, little end first

    class Meta:
        ordering = ["batch", "position"]
        constraints = [models.UniqueConstraint(fields=["batch", "position"], name="one_photo_a_position")]
        indexes = [
            models.Index(fields=["batch", "status", "position"], name="item_status_page"),
            models.Index(fields=["batch", "label", "position"], name="item_label_page"),
        ]

    def __str__(self) -> str:
        return self.name

    def refuse(self, refusal: Refused) -> None:
        """Why it cannot be used; to be saved by the caller."""
        self.status, self.code, self.sentence = self.Status.REFUSED, refusal.code, refusal.sentence

    def row(self) -> Row:
        """The same for who writes it down."""
        given = None if self.probabilities is None else np.frombuffer(bytes(self.probabilities), "<f4")
        seen = (self.status, self.code, self.sentence, self.label, self.probability, self.sure, self.animated)
        return Row(self.position, self.name, *seen, given)
