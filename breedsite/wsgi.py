"""The site as a WSGI application: Django within the gate."""

import os
from typing import TYPE_CHECKING

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "breedsite.settings")

django_application = get_wsgi_application()

from django.conf import settings  # noqa: E402 - after the settings' module has a name
from django.http import HttpRequest, HttpResponse  # noqa: E402
from django.middleware.clickjacking import XFrameOptionsMiddleware  # noqa: E402
from django.middleware.security import SecurityMiddleware  # noqa: E402

from breedsite.middleware import browser_rules  # noqa: E402
from breedsite.tally import tally  # noqa: E402
from classifier.apps import make_predictor  # noqa: E402
from classifier.gate import BodyLimits, Gate, Header, Headers  # noqa: E402

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication


def rules() -> tuple[Header, ...]:
    """The headers that Django's middleware gives every answer for a browser to obey."""
    request, answer = HttpRequest(), HttpResponse()
    SecurityMiddleware(lambda request: answer).process_response(request, answer)
    XFrameOptionsMiddleware(lambda request: answer).process_response(request, answer)
    browser_rules(lambda request: answer)(request)
    return tuple((name, value) for name, value in answer.items() if name != "Content-Type")


def gated(application: "WSGIApplication") -> Gate:
    return Gate(
        application,
        places=make_predictor().room,
        limits=BodyLimits(predict=settings.PREDICT_BODY_BYTES),
        headers=Headers(rules(), frozenset(settings.CORS_ALLOWED_ORIGINS), tuple(settings.CORS_EXPOSE_HEADERS)),
        tally=tally,
    )


application = gated(django_application)
