"""A training as a row: what is trained on what, how far it is, what came of it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from glob import iglob
from pathlib import Path
from typing import Any, ClassVar
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, models, transaction
from django.db.models import Count, Exists, OuterRef, Q, Subquery
from django.db.models.expressions import Combinable
from django.db.models.functions import Coalesce
from django.utils import timezone

from breedsite.jobs import Job, JobQuerySet
from breedsite.storage import store
from classifier import crash
from classifier.models import ModelVersion
from trainer.models.carrying import tidy_runs
from trainer.models.dataset import NAME, Dataset
from trainer.models.epoch import EpochMetric
from trainer.models.seat import Seat
from trainer.presets import PRESETS
from trainer.recipe import Recipe, RecipeError

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

    class Kind(models.TextChoices):
        TRAINING = "training", "training"
        RANGE_TEST = "range test", "range test"  # of the learning rate: trainer.rangetest

    WAITING: ClassVar[tuple[str, ...]] = (Status.QUEUED, Status.PAUSED)
    HELD: ClassVar[tuple[str, ...]] = HELD
    STOPPING: ClassVar[str] = Status.STOPPING
    ACTIVE: ClassVar[frozenset[str]] = frozenset({*WAITING, *HELD})
    TERMINAL: ClassVar[frozenset[str]] = frozenset({Status.FINISHED, Status.FAILED})
    TASK: ClassVar[str] = "trainer.tasks.train_runs"
    QUEUE: ClassVar[str] = "train"

    kind = models.CharField(max_length=16, choices=Kind.choices, default=Kind.TRAINING)
    name = models.CharField(max_length=64, validators=[NAME], help_text="of the versions that come of it")
    status = models.CharField(max_length=16, choices=Status.choices, default=Status.QUEUED, db_index=True)
    dataset = models.ForeignKey(Dataset, models.PROTECT, related_name="runs")
    fingerprint = models.CharField(max_length=64, help_text="of the dataset, as it was trained on")
    preset = models.CharField(max_length=64, blank=True)
    key = models.UUIDField(null=True, unique=True, editable=False)  # of the form that started it
    recipe = models.JSONField(help_text="every hyperparameter")
    parent = models.ForeignKey("self", models.SET_NULL, null=True, blank=True, related_name="children")
    version = models.ForeignKey(ModelVersion, models.SET_NULL, null=True, blank=True, related_name="runs")
    device = models.CharField(max_length=255, blank=True, help_text="where it trains or trained last")
    found = models.JSONField(default=dict, help_text="the curve of a range test, and what it suggests")
    live = models.JSONField(default=dict, help_text="the step under way")
    use = models.JSONField(default=list, help_text="what it used of its machine (see trainer.models.using)")
    needs_bytes = models.PositiveBigIntegerField(default=0, help_text="free space without which it cannot go on")
    pauses = models.PositiveIntegerField(default=0, editable=False, help_text="for want of space on a disk")
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+")

    objects = TrainingRunQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-pk"]
        constraints = [
            models.UniqueConstraint(fields=["device"], condition=Q(status__in=HELD), name="one_training_a_device")
        ]
        verbose_name = "run"

    def __str__(self) -> str:
        kind = ", range test" if self.kind == self.Kind.RANGE_TEST else ""
        return f"run {self.pk} ({self.name}{kind})"

    @classmethod
    def seize(cls, pk: int, token: UUID, **claimed: Any) -> None:
        """Each of the devices on which it is to train."""
        Seat.take(claimed["device"], run=pk, token=token, held=HELD)

    @staticmethod
    def number_in_queue() -> Combinable:
        """`place` as an annotation of many rows; of those that do not wait it means nothing."""
        earlier = Q(created_at__lt=OuterRef("created_at")) | Q(created_at=OuterRef("created_at"), pk__lt=OuterRef("pk"))
        queued = TrainingRun._base_manager.filter(earlier, status="queued").order_by().values("status")
        return Coalesce(Subquery(queued.annotate(count=Count("pk")).values("count")), 0) + 1

    @property
    def folder(self) -> Path:
        """Its job files, log and checkpoints."""
        return Path(settings.RUNS_DIR) / str(self.pk)

    @property
    def trained_on(self) -> str:
        """Its devices in words, with how many processes share its batches where they are several."""
        machine, _, names = self.device.rpartition(" ")
        devices = names.split("+")
        several = f", {len(devices)} processes" if len(devices) > 1 else ""
        return f"{machine} {', '.join(dict.fromkeys(devices))}{several}".strip()

    @property
    def answers(self) -> Path:
        """What its version answered to the photos of its dataset (see trainer.answers)."""
        return self.folder / "answers.npy"

    @property
    def has_answers(self) -> bool:
        """Whether they are here, or may be in the storage that hosts share."""
        return store().on or self.answers.exists()

    @property
    def changes(self) -> dict[str, Any]:
        """The fields of its recipe in which it differs from its preset, or from a recipe's defaults."""
        base = PRESETS.get(self.preset, Recipe()).as_dict()
        return {name: value for name, value in self.fields.items() if base.get(name) != value}

    @property
    def fields(self) -> dict[str, Any]:
        """Its recipe as the row has it; nothing where that is damaged."""
        return self.recipe if isinstance(self.recipe, dict) else {}

    @property
    def may_resume(self) -> bool:
        return self.status == self.Status.STOPPED and self.kind == self.Kind.TRAINING

    @property
    def lost_its_start(self) -> bool:
        """Whether the version that it was to start from is gone."""
        return self.parent is not None and self.parent.version is None and not self.epochs.exists()

    @property
    def findings(self) -> dict[str, Any]:
        """What its range test found; nothing where the row is damaged."""
        return self.found if isinstance(self.found, dict) else {}

    @property
    def suggestion(self) -> dict[str, float]:
        """The fields of a recipe that its range test found; none where it has found nothing."""
        changes = self.findings.get("changes")
        return changes if isinstance(changes, dict) else {}

    @property
    def may_continue(self) -> bool:
        return self.status in self.TERMINAL and self.version is not None

    @classmethod
    def to_keep(cls) -> Q:
        """A training that has an epoch makes a version of its best one."""
        return Q(Exists(EpochMetric.objects.filter(run=OuterRef("pk"))))

    def unfit_for(self, dataset: Dataset, recipe: Recipe) -> str:
        """Why such a run cannot start from its version, in a sentence; empty where it can."""
        try:
            network = Recipe.from_dict(self.recipe).as_architecture()
        except RecipeError:
            return f"It goes on from {self}, whose recipe cannot be read."
        if self.dataset.labels == dataset.labels and network == recipe.as_architecture():
            return ""
        return f"It goes on from {self}: leave the labels and the network as they are there."

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

    def clone(self, *, changes: Mapping[str, Any] | None = None, **fields: Any) -> TrainingRun:
        """The same once more, as a new run; `changes` are fields of the recipe. Raises RecipeError."""
        recipe = Recipe.from_dict(self.recipe | dict(changes or {}))
        if changes and self.parent and (why := self.parent.unfit_for(self.dataset, recipe)):
            raise RecipeError(next(iter(changes)), why)
        same = {"name": self.name, "preset": self.preset, "kind": self.kind, "parent": self.parent}
        return TrainingRun.objects.start(self.dataset, recipe, **same | fields)

    def suggested(self, **fields: Any) -> TrainingRun:
        """A new training at the rate that this range test found."""
        assert self.suggestion
        recipe = Recipe.from_dict(self.recipe | self.suggestion)
        names = {"name": self.name, "preset": self.preset, "parent": self.parent}
        return TrainingRun.objects.start(self.dataset, recipe, **names | fields)

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
                crash.here("in_epoch_transaction")
        crash.here("after_epoch_stored")
        return ours

    def pause(self, needs_bytes: int, place: Path) -> bool:
        """Wait until so much space is free on the disk of the folder `place`."""
        needs, free = megabytes(needs_bytes), megabytes(room(place))
        then = "Its best epoch becomes a version" if self.stop_requested else "It goes on by itself"
        sentence = f"The disk is full: it needs {needs} MB, {free} MB are free. {then} when there is room."
        waits = {"status": self.Status.PAUSED, "failure": sentence, "needs_bytes": needs_bytes}
        return self._let_go(**waits, pauses=self.pauses + 1, live={"place": str(place)})

    @property
    def waits_at(self) -> Path:
        """The folder on whose disk there is too little room for it."""
        place = self.live.get("place") if isinstance(self.live, dict) else None
        return Path(place) if isinstance(place, str) else self.folder

    def ended_with(self, version: ModelVersion) -> bool:
        """Whether the row says so already: an answer of the database may be lost when the change is not."""
        return self._rows().filter(pk=self.pk, version=version, status__in=(*self.TERMINAL, self.STOPPED)).exists()

    def remove_checkpoints(self) -> None:
        """It has finished, and nobody needs them any more."""
        for place in self.folder.glob("attempt-*"):
            shutil.rmtree(place, ignore_errors=True)
        store().remove(f"runs/{self.pk}/attempt-")

    @classmethod
    def measured(cls) -> list[tuple[str, str, dict[str, float]]]:
        """Of those that are trained now, how long the last epoch and its checkpoint took; how often a full disk made
        one of these, or of those that wait, pause."""
        rows = EpochMetric.objects.filter(run__status__in=cls.HELD)
        paused = cls.objects.filter(status__in=cls.ACTIVE).values_list("pk", "pauses")
        return [
            ("epoch_seconds", "How long the last epoch took.", rows.last_of("seconds")),
            (
                "checkpoint_seconds",
                "How long the checkpoint of the last epoch took.",
                rows.last_of("checkpoint_seconds"),
            ),
            ("checkpoint_failures", "How often it paused, for the disk had no room.", {str(pk): n for pk, n in paused}),
        ]

    @classmethod
    def tidy(cls) -> None:
        """Remove the checkpoints of runs whose process was killed between their end and that."""
        # Unlike Path.glob it bears a folder that goes meanwhile.
        found = iglob("*/attempt-*", root_dir=settings.RUNS_DIR)  # noqa: PTH207
        folders = {place.partition("/")[0] for place in found}
        for run in cls.objects.filter(pk__in=filter(str.isdecimal, folders), status=cls.Status.FINISHED):
            run.remove_checkpoints()
        tidy_runs()

    @classmethod
    def wake(cls) -> None:
        """Runs that wait for space go back into the queue when there is enough."""
        for run in cls.objects.filter(status=cls.Status.PAUSED):
            if room(run.waits_at) >= run.needs_bytes:
                paused = cls._rows().filter(pk=run.pk, status=cls.Status.PAUSED)
                paused.update(status=cls.Status.QUEUED, failure="", due_at=timezone.now())


def room(place: Path) -> int:
    """Free bytes on the disk of a folder, which need not exist yet, or any more."""
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


def megabytes(count: int) -> str:
    return f"{count / 1e6:,.0f}"
