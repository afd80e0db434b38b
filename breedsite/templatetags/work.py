"""What the admin's front page says of the workers and their work."""

from typing import Any

from django import template
from django.contrib.auth.models import AnonymousUser, User
from django.urls import reverse

from breedsite import jobs
from breedsite.health import queue_state
from breedsite.models import Worker

register = template.Library()


@register.inclusion_tag("admin/work.html")
def work(user: User | AnonymousUser) -> dict[str, Any]:
    """The living workers, and the jobs under way and waiting that `user` may look at."""
    kinds = [kind for kind in jobs.kinds() if user.has_perm(f"{kind._meta.app_label}.view_{kind._meta.model_name}")]
    return {
        "workers": Worker.objects.alive(),
        "queue": queue_state() == "ok",
        "running": [shown(job) for kind in kinds for job in kind._base_manager.filter(status__in=kind.HELD)],
        "waiting": [
            (kind._meta.verbose_name if count == 1 else kind._meta.verbose_name_plural, count)
            for kind in kinds
            if (count := kind._base_manager.filter(status__in=kind.WAITING).count())
        ],
    }


def shown(job: jobs.Job) -> dict[str, Any]:
    """A job as a line with a bar."""
    options, name, kind = job._meta, str(job), str(job._meta.verbose_name)
    return {
        "name": name if kind in name else f"{kind} {name}",
        "status": job.status,
        "done": job.progress_done,
        "total": job.progress_total,
        "page": reverse(f"admin:{options.app_label}_{options.model_name}_change", args=[job.pk]),
    }
