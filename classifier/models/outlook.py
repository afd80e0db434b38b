"""How long a batch still takes, by its newest chunks."""

from django.utils import timezone

from classifier.models.batch import Batch
from classifier.models.chunk import Chunk

NEWEST = 4  # chunks: an older one may have waited through a night in which its batch was stopped


def eta_seconds(batch: Batch) -> float | None:
    """None where nobody knows yet."""
    if batch.status != Batch.Status.PREDICTING:
        return None
    now = timezone.now()
    known = batch.chunks.filter(started_at__isnull=False, progress_done__gt=0).order_by("-started_at")[:NEWEST]
    done, seconds = 0, 0.0
    for chunk in known:
        assert chunk.started_at is not None
        done += chunk.progress_done
        seconds += ((chunk.finished_at or now) - chunk.started_at).total_seconds()
    if not done:
        return None
    at_work = max(1, batch.chunks.filter(status__in=Chunk.HELD).count())
    return (batch.progress_total - batch.progress_done) * seconds / done / at_work
