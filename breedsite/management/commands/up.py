"""`manage.py up`: the whole site with one command, until Ctrl-C or SIGTERM."""

import os
import sys
from typing import Any

from django.core.management.base import BaseCommand


class Command(BaseCommand):
    help = (
        "Start everything: Valkey (unless BROKER_URL and CACHE_URL name others), migrations, the starter model, "
        "a Celery worker and the web server. Ctrl-C or SIGTERM stops it."
    )
    requires_system_checks = []  # `prepare` makes them

    def handle(self, *args: Any, **options: Any) -> None:
        os.execv(sys.executable, [sys.executable, "-m", "breedsite.up"])  # noqa: S606
