"""What no process of the living does by itself: jobs of the dead are taken back, and those that wait are rung for."""

import logging
import threading

from django.apps import apps
from django.conf import settings
from django.db import Error, connection

from breedsite.jobs import Job, JobQuerySet
from breedsite.models import Worker
from classifier import crash

log = logging.getLogger(__name__)


def kinds() -> list[type[Job]]:
    """Every kind of job of the installed apps."""
    return [model for model in apps.get_models() if issubclass(model, Job)]


def reconcile() -> None:
    """Take back what silent processes hold and ring for what is due; then clean up, which may fail on what it finds."""
    for kind in kinds():
        rows: JobQuerySet[Job] = JobQuerySet(kind)
        rows.take_back(settings.LEASE_SECONDS)
        crash.here("after_take_back")
        kind.wake()
        # Who does not do such work does not ring for it: nobody might ever take the messages.
        if kind.QUEUE in ("", *settings.WORKER_QUEUES) and rows.due().exists():
            kind.ring()
    for kind in kinds():
        kind.tidy()


class Reconciler(threading.Thread):
    """Reconciles again and again, with a database connection of its own, whether a broker answers or not, and says
    each time that this worker is alive."""

    def __init__(self, seconds: float) -> None:
        super().__init__(name="reconciler", daemon=True)
        self.seconds = seconds
        self._leaving = threading.Event()

    def run(self) -> None:
        away = False
        while True:
            try:
                Worker.objects.beat()
                if away:  # nobody could beat: the living first have the time to
                    self._leaving.wait(2 * settings.HEARTBEAT_SECONDS)
                reconcile()
                away = False
            except (Error, OSError) as error:
                away = True
                log.warning("The jobs cannot be looked at now: %s", error)
            except Exception:
                log.exception("A look at the jobs failed; the next one follows.")  # nobody else would ever look again
            finally:
                connection.close()
            if self._leaving.wait(self.seconds):
                return

    def stop(self) -> None:
        self._leaving.set()
