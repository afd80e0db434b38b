"""What a Celery worker does for the classifier. A task carries no state: it looks for its work itself."""

import logging
import shutil
import time
from contextlib import suppress
from typing import Any

from celery import shared_task
from celery.signals import worker_ready
from django.conf import settings
from django.core.management import call_command

from breedsite.celery import leaving
from classifier.models import Batch
from classifier.models.keeping import tidy_versions
from classifier.models.predicting import claim, decoding, enlist, predict

log = logging.getLogger(__name__)

ABANDONED_SECONDS = 3600.0  # an installation takes seconds: what is older belongs to a process that was killed


@shared_task
def sweep() -> None:
    """Remove what killed processes and expired sessions left behind: unfinished installations, session rows.

    An installation writes into `<folder>.tmp-*` and renames it at the end (`classifier.artifact`).
    """
    for folder in settings.VERSIONS_DIR.glob("*.tmp-*"):
        with suppress(FileNotFoundError):  # it was finished, or removed by another one, in this moment
            if time.time() - folder.stat().st_mtime > ABANDONED_SECONDS:
                shutil.rmtree(folder)
                log.info("Removed the unfinished installation %s.", folder.name)
    tidy_versions()
    call_command("clearsessions")


@shared_task
def predict_batches() -> None:
    """List the batches that wait, then answer chunk after chunk, the oldest first, until nothing waits, another process
    of this machine answers already, or this worker leaves."""
    while not leaving() and (batch := Batch.objects.claim_next()) is not None:
        enlist(batch)
    with decoding() as decoders:
        while not leaving() and (chunk := claim()) is not None:
            predict(chunk, decoders, leaving=leaving)


@worker_ready.connect
def ring(**_: Any) -> None:
    """Every start of a worker is followed by one sweep."""
    sweep.delay()
