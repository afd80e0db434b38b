"""Which workers are alive, judged by what they write themselves."""

from __future__ import annotations

import os
from datetime import timedelta

from django.conf import settings
from django.db import models
from django.utils import timezone

FORGOTTEN = timedelta(days=1)


class WorkerQuerySet(models.QuerySet["Worker"]):
    def alive(self) -> WorkerQuerySet:
        """Those that were heard of lately: a question to a busy worker would stay unanswered."""
        silence = timedelta(seconds=2 * settings.RECONCILE_SECONDS)
        return self.filter(heartbeat_at__gt=timezone.now() - silence)

    def beat(self) -> None:
        """This process is the parent of a worker, and alive."""
        now = timezone.now()
        self.update_or_create(name=own_name(), defaults={"heartbeat_at": now})
        self.filter(heartbeat_at__lt=now - FORGOTTEN).delete()

    def leave(self) -> None:
        """This process ends and needs no time to be missed."""
        self.filter(name=own_name()).delete()


class Worker(models.Model):
    """A Celery worker, by its parent process."""

    name = models.CharField(max_length=100, unique=True)
    started_at = models.DateTimeField(default=timezone.now)
    heartbeat_at = models.DateTimeField()

    objects = WorkerQuerySet.as_manager()

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


def own_name() -> str:
    return f"{os.uname().nodename} {os.getpid()}"
