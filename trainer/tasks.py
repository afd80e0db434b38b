"""What a Celery worker does for the trainer. A task carries no state: it looks for its work itself."""

from celery import shared_task

from trainer.models import Dataset
from trainer.models.importing import perform


@shared_task
def import_datasets() -> None:
    """Import what waits, the oldest first, until nothing does."""
    while (dataset := Dataset.objects.claim_next()) is not None:
        perform(dataset)
