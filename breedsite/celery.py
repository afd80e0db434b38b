"""The doorbell: Celery carries no state, the database row is the truth of a job."""

import mmap
import os
import warnings
from typing import Any

from celery import Celery
from celery.bootsteps import StartStopStep
from celery.platforms import SecurityWarning
from celery.signals import setup_logging, worker_process_init, worker_shutdown, worker_shutting_down

from breedsite.tether import die_with

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "breedsite.settings")
LEAVING = mmap.mmap(-1, 1)  # one byte that the parent shares with the pool's processes
PARENT = os.getpid()  # of the pool's processes: this module is loaded before they are forked
# Celery warns a worker that runs as root about pickled messages; ours takes JSON alone (CELERY_ACCEPT_CONTENT).
warnings.filterwarnings("ignore", category=SecurityWarning)

app = Celery("breedsite")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@setup_logging.connect
def log_as_the_site_does(**_: Any) -> None:
    """Else Celery puts a handler of its own on the root logger, which hides no password of a URL."""
    from django.conf import settings
    from django.utils.log import configure_logging

    configure_logging(settings.LOGGING_CONFIG, settings.LOGGING)


@worker_process_init.connect
def tether(**_: Any) -> None:
    """A worker that is killed with -9 takes its pool along; else each of them would wait for work for ever."""
    die_with(PARENT)


@worker_shutting_down.connect
def tell_pool(**_: Any) -> None:
    """The worker was asked to end and waits for its tasks: a long one must hear of it."""
    LEAVING[0] = 1


def leaving() -> bool:
    """Whether this process of the pool should give its work back soon."""
    return LEAVING[0] == 1


class Reconciling(StartStopStep):
    """The parent looks after the jobs of the dead, once its pool has forked; it has no other work, and needs neither
    message nor broker to begin (`worker_ready` is sent when one has answered)."""

    requires = ("celery.worker.components:Pool",)

    def start(self, _worker: Any) -> None:
        from django.conf import settings

        from breedsite.reconciling import Reconciler  # its models need the apps to be loaded

        Reconciler(settings.RECONCILE_SECONDS).start()


app.steps["worker"].add(Reconciling)


@worker_shutdown.connect
def say_goodbye(**_: Any) -> None:
    """Let nobody wait for the heartbeat of a worker that has ended."""
    from breedsite.models import Worker

    Worker.objects.leave()
