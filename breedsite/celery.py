"""The doorbell: Celery carries no state, the database row is the truth of a job."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "breedsite.settings")

app = Celery("breedsite")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
