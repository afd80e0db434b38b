"""What the admin's front page says of the workers and their work."""

from typing import Any
from uuid import UUID

from django import template
from django.contrib.auth.models import AnonymousUser, User
from django.urls import reverse

from breedsite import jobs, reconciling
from breedsite.health import queue_state
from breedsite.models import Holding, Worker
from breedsite.waiting import waiting

register = template.Library()
register.filter("waiting", waiting)


@register.inclusion_tag("admin/work.html")
def work(user: User | AnonymousUser) -> dict[str, Any]:
    """The living workers, and the jobs under way and waiting that `user` may look at."""
    kinds = [
        kind for kind in reconciling.kinds() if user.has_perm(f"{kind._meta.app_label}.view_{kind._meta.model_name}")
    ]
    running = [job for kind in kinds for job in kind._base_manager.filter(status__in=kind.HELD)]
    held = Holding.objects.filter(token__in=[job.token for job in running])
    owners: dict[UUID | None, str] = dict(held.values_list("token", "worker"))
    return {
        "workers": [
            (worker, [shown(job) for job in running if owners.get(job.token) == worker.name])
            for worker in Worker.objects.alive()
        ],
        "queue": queue_state() == "ok",
        "running": [shown(job) for job in running],
        "waiting": [
            (kind._meta.verbose_name if count == 1 else kind._meta.verbose_name_plural, count)
            for kind in kinds
            if (count := kind._base_manager.filter(status__in=kind.WAITING).count())
        ],
    }


def shown(job: jobs.Job) -> dict[str, Any]:
    """A job as a line with a bar."""
    options, name, kind = job.about._meta, str(job), str(job._meta.verbose_name)
    return {
        "name": name if kind in name else f"{kind} {name}",
        "status": job.status,
        "done": job.progress_done,
        "total": job.progress_total,
        "page": reverse(f"admin:{options.app_label}_{options.model_name}_change", args=[job.about.pk]),
    }
