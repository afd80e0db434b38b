"""What a Celery worker does for the trainer. A task carries no state: it looks for its work itself."""

from celery import shared_task

from breedsite.celery import leaving
from trainer.models import Dataset, TrainingRun
from trainer.models.importing import perform
from trainer.models.supervising import device, supervise


@shared_task
def import_datasets() -> None:
    """Import what waits, the oldest first, until nothing does."""
    while (dataset := Dataset.objects.claim_next()) is not None:
        perform(dataset)


@shared_task
def train_runs() -> None:
    """Train what waits, the oldest first, until nothing does or this machine trains already."""
    while (run := TrainingRun.objects.claim_next(device=device())) is not None:
        if not supervise(run, leaving=leaving):
            return
