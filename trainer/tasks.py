"""What a Celery worker does for the trainer. A task carries no state: it looks for its work itself."""

from celery import shared_task

from breedsite.celery import leaving
from trainer.models import Dataset
from trainer.models.importing import perform
from trainer.models.supervising import claim, supervise


@shared_task
def import_datasets() -> None:
    """Import what waits, the oldest first, until nothing does or this worker leaves."""
    while not leaving() and (dataset := Dataset.objects.claim_next()) is not None:
        perform(dataset, leaving=leaving)


@shared_task
def train_runs() -> None:
    """Train what waits, the oldest first, until nothing does or every device of this machine trains already."""
    while (run := claim()) is not None:
        if not supervise(run, leaving=leaving):
            return
