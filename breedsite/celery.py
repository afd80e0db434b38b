"""The doorbell: Celery carries no state, the database row is the truth of a job."""

import os
import warnings
from typing import Any

from celery import Celery
from celery.platforms import SecurityWarning
from celery.signals import worker_process_init, worker_ready

from breedsite.tether import die_with

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "breedsite.settings")
PARENT = os.getpid()  # of the pool's processes: this module is loaded before they are forked
# Celery warns a worker that runs as root about pickled messages; ours takes JSON alone (CELERY_ACCEPT_CONTENT).
warnings.filterwarnings("ignore", category=SecurityWarning)

app = Celery("breedsite")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@worker_process_init.connect
def tether(**_: Any) -> None:
    """A worker that is killed with -9 takes its pool along; else each of them would wait for work for ever."""
    die_with(PARENT)


@worker_ready.connect
def reconcile(**_: Any) -> None:
    """The parent looks after the jobs of the dead; it has no other work, and needs no message to begin."""
    from django.conf import settings

    from breedsite.jobs import Reconciler  # its models need the apps to be loaded

    Reconciler(settings.RECONCILE_SECONDS).start()
