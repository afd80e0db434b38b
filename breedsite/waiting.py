"""What a job that waits tells of itself: its place in the queue, and what hinders it."""

from breedsite.health import queue_state
from breedsite.jobs import Job
from breedsite.models import Worker


def waiting(job: Job) -> str:
    """A sentence; empty for a job that does not wait in the queue."""
    place = job.place
    if place is None:
        return ""
    if job.stop_requested:
        return "It is stopped once a worker has kept its best."
    if queue_state() != "ok":
        return f"The queue is unreachable; the {job._meta.verbose_name} will start by itself."
    if not Worker.objects.alive().exists():
        return f"Number {place} in the queue, but no worker is running: it begins when one is started."
    return f"Number {place} in the queue."


def obstacle(kind: type[Job]) -> str:
    """What keeps the queue of that kind from moving, in a sentence; empty where nothing does."""
    if queue_state() != "ok":
        return f"The queue is unreachable; the {kind._meta.verbose_name} will start by itself."
    return "" if Worker.objects.alive().exists() else "No worker is running: what waits begins when one is started."
