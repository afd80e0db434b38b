"""Which workers are alive, judged by what they write themselves."""

from __future__ import annotations

import os
from datetime import timedelta
from uuid import UUID

from django.conf import settings
from django.db import models
from django.utils import timezone

from breedsite.checkout import code_version

FORGOTTEN = timedelta(days=1)
LONGEST_HOLDING = timedelta(days=30)  # after which nobody asks who has a job


class WorkerQuerySet(models.QuerySet["Worker"]):
    def alive(self) -> WorkerQuerySet:
        """Those that were heard of lately: a question to a busy worker would stay unanswered."""
        silence = timedelta(seconds=2 * settings.RECONCILE_SECONDS)
        return self.filter(heartbeat_at__gt=timezone.now() - silence)

    def beat(self) -> None:
        """This process is the parent of a worker, and alive."""
        now = timezone.now()
        self.update_or_create(name=own_name(), defaults={"heartbeat_at": now, "code": code_version()})
        self.filter(heartbeat_at__lt=now - FORGOTTEN).delete()
        Holding.objects.filter(since__lt=now - LONGEST_HOLDING).delete()

    def holds(self, token: UUID, parent: int) -> None:
        """The worker on this machine whose first process has the id `parent` has claimed what has this token."""
        Holding.objects.create(token=token, worker=name_of(parent))

    def leave(self) -> None:
        """This process ends and needs no time to be missed."""
        self.filter(name=own_name()).delete()


class Worker(models.Model):
    """A Celery worker, by its parent process."""

    name = models.CharField(max_length=100, unique=True)
    started_at = models.DateTimeField(default=timezone.now)
    heartbeat_at = models.DateTimeField()
    # Of what it runs; the database's own default lets a worker write its row that was started before this was known.
    code = models.CharField(max_length=60, blank=True, db_default="")

    objects = WorkerQuerySet.as_manager()

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class Holding(models.Model):
    """Which worker claimed a job: the token is the one in the job's row, for as long as it is held."""

    token = models.UUIDField(primary_key=True)
    worker = models.CharField(max_length=100, db_index=True)
    since = models.DateTimeField(default=timezone.now, db_index=True)

    def __str__(self) -> str:
        return f"{self.token} of {self.worker}"


def own_name() -> str:
    return name_of(os.getpid())


def name_of(parent: int) -> str:
    return f"{os.uname().nodename} {parent}"
