"""A training as a row: what is trained on what, how far it is, what came of it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, ClassVar
from uuid import UUID

from django.conf import settings
from django.core.validators import RegexValidator
from django.db import IntegrityError, models, transaction
from django.db.models import Q
from django.utils import timezone

from breedsite.jobs import Job, JobQuerySet
from classifier.models import ModelVersion
from trainer.models.dataset import Dataset
from trainer.presets import PRESETS
from trainer.recipe import Recipe

NAME = RegexValidator(r"^[a-z0-9][a-z0-9_-]{0,63}\Z", "Use small letters, digits, hyphens and underscores, at most 64.")
HELD = ("running", "stopping")


class TrainingRunQuerySet(JobQuerySet["TrainingRun"]):
    def start(
        self, dataset: Dataset, recipe: Recipe, *, name: str, key: UUID | None = None, **fields: Any
    ) -> TrainingRun:
        """A new run in the queue; a worker is rung for after the commit. Twice with the same `key` is one run."""
        values = {"dataset": dataset, "fingerprint": dataset.fingerprint, "recipe": recipe.as_dict(), "name": name}
        try:
            with transaction.atomic():
                run = self.create(key=key, **values, **fields)
                transaction.on_commit(TrainingRun.ring)
        except IntegrityError:
            if key is None or (started := self.filter(key=key).first()) is None:
                raise
            return started
        return run


class TrainingRun(Job):
    """One training of one recipe on one dataset, from the queue to a candidate version."""

    class Status(models.TextChoices):
        QUEUED = "queued", "queued"
        RUNNING = "running", "running"
        STOPPING = "stopping", "stopping"
        PAUSED = "paused", "paused (no space)"
        STOPPED = "stopped", "stopped"
        FINISHED = "finished", "finished"
        FAILED = "failed", "failed"

    WAITING: ClassVar[tuple[str, ...]] = (Status.QUEUED, Status.PAUSED)
    HELD: ClassVar[tuple[str, ...]] = HELD
    STOPPING: ClassVar[str] = Status.STOPPING
    ACTIVE: ClassVar[frozenset[str]] = frozenset({*WAITING, *HELD})
    TERMINAL: ClassVar[frozenset[str]] = frozenset({Status.FINISHED, Status.FAILED})
    TASK: ClassVar[str] = "trainer.tasks.train_runs"

    name = models.CharField(max_length=64, validators=[NAME], help_text="of the versions that come of it")
    status = models.CharField(max_length=16, choices=Status.choices, default=Status.QUEUED, db_index=True)
    dataset = models.ForeignKey(Dataset, models.PROTECT, related_name="runs")
    fingerprint = models.CharField(max_length=64, help_text="of the dataset, as it was trained on")
    preset = models.CharField(max_length=64, blank=True)
    key = models.UUIDField(null=True, unique=True, editable=False)  # of the form that started it
    recipe = models.JSONField(help_text="every hyperparameter")
    parent = models.ForeignKey("self", models.SET_NULL, null=True, blank=True, related_name="children")
    version = models.ForeignKey(ModelVersion, models.SET_NULL, null=True, blank=True, related_name="runs")
    device = models.CharField(max_length=100, blank=True, help_text="where it trains or trained last")
    live = models.JSONField(default=dict, help_text="the step under way")
    needs_bytes = models.PositiveBigIntegerField(default=0, help_text="free space without which it cannot go on")
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+")

    objects = TrainingRunQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-pk"]
        constraints = [
            models.UniqueConstraint(fields=["device"], condition=Q(status__in=HELD), name="one_training_a_device")
        ]
        verbose_name = "run"

    def __str__(self) -> str:
        return f"run {self.pk} ({self.name})"

    @property
    def folder(self) -> Path:
        """Its job files, log and checkpoints."""
        return Path(settings.RUNS_DIR) / str(self.pk)

    @property
    def changes(self) -> dict[str, Any]:
        """The fields of its recipe in which it differs from its preset, or from a recipe's defaults."""
        base = PRESETS.get(self.preset, Recipe()).as_dict()
        return {name: value for name, value in self.recipe.items() if base.get(name) != value}

    @property
    def may_resume(self) -> bool:
        return self.status == self.Status.STOPPED

    @property
    def may_continue(self) -> bool:
        return self.status == self.Status.FINISHED and self.version is not None

    # --- for people -----------------------------------------------------------------------------------------------
    def resume(self) -> bool:
        """Put a stopped run back into the queue, where it goes on from its last checkpoint. False for any other."""
        changes: dict[str, Any] = {"status": self.Status.QUEUED, "stop_requested": False, "finished_at": None}
        stopped = self._rows().filter(pk=self.pk, status=self.Status.STOPPED)
        done = stopped.update(**changes, failure="", deaths=0, due_at=None)
        self.refresh_from_db()
        if done:
            transaction.on_commit(self.ring)
        return bool(done)

    def clone(self, **fields: Any) -> TrainingRun:
        """The same once more, as a new run."""
        recipe = Recipe.from_dict(self.recipe)
        return TrainingRun.objects.start(self.dataset, recipe, name=self.name, preset=self.preset, **fields)

    def continued(self, **fields: Any) -> TrainingRun:
        """A new run that starts from the version of this one, with a fresh schedule."""
        assert self.may_continue
        return self.clone(parent=self, **fields)

    # --- for the process that holds it ----------------------------------------------------------------------------
    def record(self, epoch: dict[str, Any]) -> bool:
        """Store an epoch, once. False when the run is no longer ours; nothing is stored then."""
        with transaction.atomic():
            known = self.epochs.filter(number=epoch["number"]).exists()  # told again by a later attempt
            ours = self.beat() if known else self.beat(deaths=0)
            if ours and not known:
                self.epochs.create(**epoch)
        return ours

    def pause(self, needs_bytes: int, free_bytes: int) -> bool:
        """Wait for space on the disk."""
        sentence = f"The disk is full: it needs {megabytes(needs_bytes)} MB, {megabytes(free_bytes)} are free."
        return self._change(status=self.Status.PAUSED, token=None, failure=sentence, needs_bytes=needs_bytes)

    @classmethod
    def wake(cls) -> None:
        """Runs that wait for space go back into the queue when there is enough."""
        for run in cls.objects.filter(status=cls.Status.PAUSED):
            if shutil.disk_usage(run.folder).free >= run.needs_bytes:
                paused = cls._rows().filter(pk=run.pk, status=cls.Status.PAUSED)
                paused.update(status=cls.Status.QUEUED, failure="", due_at=timezone.now())


class EpochMetric(models.Model):
    """What one epoch of a run brought. Losses are means over photos; null where they were not finite."""

    run = models.ForeignKey(TrainingRun, models.CASCADE, related_name="epochs")
    number = models.PositiveIntegerField()
    loss = models.FloatField(null=True)
    accuracy = models.FloatField(null=True)
    validation_loss = models.FloatField(null=True)
    validation_top1 = models.FloatField(null=True)
    learning_rate = models.FloatField()
    skipped_steps = models.PositiveIntegerField(default=0)
    seconds = models.FloatField()
    images_per_second = models.FloatField()
    trail = models.JSONField(default=list, help_text="[step, learning rate, loss] of some of its steps")

    class Meta:
        ordering = ["run", "number"]
        constraints = [models.UniqueConstraint(fields=["run", "number"], name="one_row_an_epoch")]

    def __str__(self) -> str:
        return f"epoch {self.number} of {self.run}"


def megabytes(count: int) -> str:
    return f"{count / 1e6:,.0f}"
