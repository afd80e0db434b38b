"""What every kind of long work shares: the database row is the queue and the truth, Celery only the doorbell.

A row is claimed by one conditional UPDATE that gives it a token; whoever holds the token beats its heart, and every
later change asks for the token, so a process that was taken for dead can change nothing any more. `reconciling` takes
back what the dead held and rings again for what waits: no message has to arrive for the work to be done.

    class Errand(Job):
        class Status(models.TextChoices): ...
        status = models.CharField(max_length=16, choices=Status.choices, default=Status.QUEUED)
        TASK = "errands.tasks.run_next"     # claims with Errand.objects.claim_next() until there is nothing left
"""

import logging
import uuid
from collections.abc import Iterable
from datetime import timedelta
from typing import Any, ClassVar, Self, TypeVar

from django.conf import settings
from django.db import IntegrityError, models, transaction
from django.db.models import F, Q
from django.db.models.functions import Coalesce
from django.utils import timezone

from breedsite.broker import BROKER_ERRORS
from breedsite.celery import PARENT, app
from breedsite.models import Worker
from classifier import crash

log = logging.getLogger(__name__)

J = TypeVar("J", bound="Job")
MAX_DEATHS = 3  # in a row, without any progress between them
LIFECYCLE = frozenset(
    {"status", "token", "heartbeat_at", "due_at", "attempt", "deaths", "started_at", "finished_at", "failure"}
    | {"stop_requested", "progress_done", "progress_total"}
)


class JobQuerySet(models.QuerySet[J]):
    """Rows of one kind of job."""

    def queued(self) -> Self:
        """Those that wait, in the order in which they will be claimed."""
        return self.filter(status=self.model.QUEUED).order_by("created_at", "pk")

    def due(self) -> Self:
        """Of those that wait the ones that may be claimed now: a job whose process died pauses for a while."""
        return self.queued().filter(Q(due_at=None) | Q(due_at__lte=timezone.now()))

    def held(self) -> Self:
        """Those that a process says it is working on."""
        return self.filter(status__in=self.model.HELD)

    def stale(self, lease_seconds: float) -> Self:
        """Of those the ones whose process has been silent for longer than the lease."""
        limit = timezone.now() - timedelta(seconds=lease_seconds)
        return self.held().alias(last=Coalesce("heartbeat_at", "started_at", "created_at")).filter(last__lt=limit)

    def claim_next(self, **claimed: Any) -> J | None:
        """The oldest row that is due, now ours, with a fresh token; None where nothing can be claimed.

        `claimed` are further fields to set with the claim. A unique constraint that they violate means that the place
        is taken (one training a device): nothing is claimed then.
        """
        while (pk := self.due().values_list("pk", flat=True).first()) is not None:
            now, token = timezone.now(), uuid.uuid4()
            try:
                with transaction.atomic():
                    won = self.model._base_manager.filter(pk=pk, status=self.model.QUEUED).update(
                        status=self.model.AT_WORK,
                        token=token,
                        attempt=F("attempt") + 1,
                        heartbeat_at=now,
                        started_at=Coalesce("started_at", now),
                        due_at=None,
                        failure="",  # what it waited for, where it did
                        **claimed,
                    )
                    if won:
                        Worker.objects.holds(token, PARENT)
                        self.model.seize(pk, token, **claimed)
            except IntegrityError:
                return None
            if won:
                crash.here("after_claim")
                return self.model._base_manager.get(pk=pk)
        return None

    def take_back(self, lease_seconds: float) -> int:
        """Rows whose process is silent wait again, or have failed for good; how many there were."""
        return sum(
            job.died("The process that worked on it ended without a word, perhaps for want of memory.")
            for job in self.stale(lease_seconds)
        )


class Job(models.Model):
    """A row that some process works on. The lifecycle is changed by the verbs alone; `save` leaves it as it is."""

    QUEUED: ClassVar[str] = "queued"
    WAITING: ClassVar[tuple[str, ...]] = ("queued",)  # nobody works on it yet
    AT_WORK: ClassVar[str] = "running"  # what a claim makes of it
    HELD: ClassVar[tuple[str, ...]] = ("running",)  # a process works on it
    STOPPED: ClassVar[str] = "stopped"  # a person asked for the end before it came
    FAILED: ClassVar[str] = "failed"
    STOPPING: ClassVar[str | None] = None  # from the request to stop until its process has heard of it
    TASK: ClassVar[str]  # the Celery task that claims and does the work
    QUEUE: ClassVar[str] = ""  # of WORKER_QUEUES: a worker can be there for some kinds of work alone

    status = models.CharField(max_length=16, default="queued", db_index=True)
    token = models.UUIDField(null=True, editable=False)  # of the process that holds it
    heartbeat_at = models.DateTimeField(null=True, editable=False)
    due_at = models.DateTimeField(null=True, editable=False)  # not to be claimed before
    attempt = models.PositiveIntegerField(default=0, editable=False)  # how often it was claimed
    deaths = models.PositiveSmallIntegerField(default=0, editable=False)  # of its process, since the last progress
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    started_at = models.DateTimeField(null=True, editable=False)
    finished_at = models.DateTimeField(null=True, editable=False)
    failure = models.TextField(blank=True, editable=False)  # a sentence for people
    stop_requested = models.BooleanField(default=False, editable=False)
    progress_done = models.PositiveBigIntegerField(default=0, editable=False)
    progress_total = models.PositiveBigIntegerField(default=0, editable=False)

    class Meta:
        abstract = True

    def save(self, *, update_fields: Iterable[str] | None = None, **options: Any) -> None:
        """A row read long ago must not bring back an old status: what exists is saved without its lifecycle."""
        if not self._state.adding and update_fields is None:
            names = [field.name for field in self._meta.concrete_fields if not field.primary_key]
            update_fields = [name for name in names if name not in LIFECYCLE]
        super().save(update_fields=update_fields, **options)

    @classmethod
    def to_keep(cls) -> Q:
        """Rows of whose work something must be kept before they are stopped, by whoever claims them next."""
        return Q(pk__in=())

    @classmethod
    def seize(cls, pk: int, token: uuid.UUID, **claimed: Any) -> None:
        """What a claim takes beside the row, in the same transaction: see `claim_next`. Raises IntegrityError where it
        is taken. Most kinds take nothing."""

    # --- the life of a job, seen by people ------------------------------------------------------------------------
    @classmethod
    def ring(cls) -> bool:
        """Tell a worker that there is work. False where the broker does not answer: the reconciler rings again."""
        crash.here("before_ring")
        try:
            queue = ".".join(filter(None, (settings.BROKER_QUEUE, cls.QUEUE)))
            app.send_task(cls.TASK, queue=queue, retry=False, expires=settings.RECONCILE_SECONDS)
        except BROKER_ERRORS as error:
            log.warning("The broker does not answer (%s); %s will be rung for again.", error, cls._meta.verbose_name)
            return False
        return True

    @classmethod
    def wake(cls) -> None:
        """Put those into the queue again whose obstacle is gone. Most kinds wait for nothing."""

    @classmethod
    def tidy(cls) -> None:
        """Remove what the dead could not. Most kinds leave nothing behind."""

    @property
    def log_ids(self) -> dict[str, Any]:
        """What a log line that names it belongs to: `run_id`."""
        return {f"{self._meta.verbose_name}_id": self.pk}

    @property
    def about(self) -> "Job":
        """The row whose page in the admin tells of it: itself, where it is no part of another."""
        return self

    @classmethod
    def measured(cls) -> Iterable[tuple[str, str, dict[str, float]]]:
        """Numbers for who watches the site: a name, what it is, the value by the row's id. Most kinds have none."""
        return ()

    @property
    def place(self) -> int | None:
        """1 for the next to be claimed; None for a row that does not wait."""
        if self.status != self.QUEUED:
            return None
        earlier = Q(created_at__lt=self.created_at) | Q(created_at=self.created_at, pk__lt=self.pk)
        return self._rows().filter(earlier, status=self.QUEUED).count() + 1

    def stop(self) -> bool:
        """Ask for the end: at once while it waits with nothing to keep, else a process is told. False where it has
        ended already."""
        ended: dict[str, Any] = {"status": self.STOPPED, "finished_at": timezone.now()}
        keeps: dict[str, Any] = {"status": self.QUEUED, "stop_requested": True, "due_at": None, "failure": ""}
        asked: dict[str, Any] = {"stop_requested": True} | ({"status": self.STOPPING} if self.STOPPING else {})
        row, done = self._rows().filter(pk=self.pk), 0
        while not done and self.status in (*self.WAITING, *self.HELD):  # it may be claimed between two of these
            done = row.filter(~self.to_keep(), status__in=self.WAITING).update(**ended)
            done = done or row.filter(self.to_keep(), status__in=self.WAITING).update(**keeps)
            done = done or row.filter(status__in=self.HELD).update(**asked)
            self.refresh_from_db()
        if done and self.status == self.QUEUED:
            transaction.on_commit(self.ring)
        return bool(done)

    # --- for the process that holds it ----------------------------------------------------------------------------
    def beat(self, **changes: Any) -> bool:
        """Say that the work goes on, and how far it is. False when the row is no longer ours: stop at once, and
        publish nothing."""
        ours = self._change(heartbeat_at=timezone.now(), **changes)
        if ours:
            self.stop_requested = self._rows().values_list("stop_requested", flat=True).get(pk=self.pk)
        return ours

    def give_back(self, **changes: Any) -> bool:
        """Wait in the queue again, at the old place, for the work is unfinished and its process has to go. Who was
        asked to stop waits only where there is something to keep."""
        return self._let_go(status=self.QUEUED, **changes)

    def wait(self, reason: str, seconds: float) -> bool:
        """Wait in the queue for something that passes, which is nobody's death; the reason is for people."""
        log.warning("%s waits %s seconds: %s", self, seconds, reason)
        return self.give_back(due_at=timezone.now() + timedelta(seconds=seconds), failure=reason)

    def finish(self, status: str, failure: str = "", **changes: Any) -> bool:
        """The end, once. False when the row is no longer ours; nothing is changed then."""
        ends: dict[str, Any] = {"status": status, "failure": failure, "finished_at": timezone.now(), "token": None}
        return self._change(**ends, **changes)

    def died(self, reason: str) -> bool:
        """Its process has died: wait again after a pause, or fail with the reason after so many deaths without
        progress. False when the row is no longer ours."""
        if self.dies_for_good:
            end = self.STOPPED if self.stop_requested else self.FAILED
            return self.finish(end, self.last_words(reason), deaths=self.deaths + 1)
        pause = settings.BACKOFF_SECONDS[min(self.deaths, len(settings.BACKOFF_SECONDS) - 1)]
        log.warning("%s died and waits %s seconds: %s", self, pause, reason)
        return self.give_back(deaths=self.deaths + 1, due_at=timezone.now() + timedelta(seconds=pause))

    @property
    def dies_for_good(self) -> bool:
        """Whether the next death is the last. What is to be stopped has as many again, to keep something."""
        return self.deaths + 1 >= MAX_DEATHS * (2 if self.stop_requested else 1)

    def last_words(self, reason: str) -> str:
        return f"It died {self.deaths + 1} times. {reason}"

    def _let_go(self, **changes: Any) -> bool:
        """Wait, held by nobody; or be stopped, where that was asked for and nothing is to be kept."""
        ours = self._change(token=None, **changes)
        asked = self._rows().filter(~self.to_keep(), pk=self.pk, status__in=self.WAITING, stop_requested=True)
        if ours and asked.update(status=self.STOPPED, finished_at=timezone.now(), failure=""):
            self.status = self.STOPPED
        return ours

    def _change(self, **changes: Any) -> bool:
        """One UPDATE that needs our token and a status in which somebody holds the row."""
        ours = self.token is not None and bool(
            self._rows().filter(pk=self.pk, token=self.token, status__in=self.HELD).update(**changes)
        )
        if ours:
            for field, value in changes.items():
                setattr(self, field, value)
        return ours

    @classmethod
    def _rows(cls) -> models.QuerySet[Self]:
        return cls._base_manager.all()
