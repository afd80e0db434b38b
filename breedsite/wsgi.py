"""The site as a WSGI application: Django within the gate."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "breedsite.settings")

django_application = get_wsgi_application()

from django.conf import settings  # noqa: E402 - after the settings' module has a name

from classifier.gate import BodyLimits, Gate  # noqa: E402

application = Gate(
    django_application,
    places=settings.PREDICT_THREADS + settings.PREDICT_QUEUE,  # those at work, and those who wait for them
    limits=BodyLimits(predict=settings.DATA_UPLOAD_MAX_MEMORY_SIZE),
)
