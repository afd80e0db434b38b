"""The simplest job there is, for tests of what all jobs share: a table of its own, unknown to the site's own apps."""

import os
import sys
from urllib.parse import urlsplit

from django.db import connection, models
from django.test.utils import isolate_apps

from breedsite.jobs import Job, JobQuerySet

with isolate_apps("breedsite"):

    class Errand(Job):
        class Status(models.TextChoices):
            QUEUED = "queued"
            RUNNING = "running"
            STOPPED = "stopped"
            FINISHED = "finished"
            FAILED = "failed"

        TASK = "tests.errands.run_next"

        name = models.CharField(max_length=20)
        place_taken = models.CharField(max_length=20, null=True)  # noqa: DJ001 - nothing is no place

        objects = JobQuerySet.as_manager()

        class Meta:
            app_label = "breedsite"
            constraints = [models.UniqueConstraint(fields=["place_taken"], name="one_errand_a_place")]

        def __str__(self) -> str:
            return f"errand {self.name}"


def database_url() -> str:
    """The address of the database of this test, for a process of its own."""
    name = str(connection.settings_dict["NAME"])
    if connection.vendor == "sqlite":
        return f"sqlite:///{name}"
    return urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{name}").geturl()


def claim_all() -> None:
    """What a process of `test_jobs` does when somebody says go: claim until nothing is left, and tell what it got."""
    print("ready", flush=True)
    sys.stdin.readline()
    while (errand := Errand.objects.claim_next()) is not None:
        print(errand.name, flush=True)
