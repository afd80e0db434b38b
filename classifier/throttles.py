"""How many predictions one caller may ask for: a key's own rate; else `PREDICT_RATE`, by account for who is signed in,
otherwise by address."""

from django.conf import settings
from django.http import HttpRequest
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from breedsite import rates
from breedsite.access import count_call, key_of


def wait_seconds(request: HttpRequest) -> int:
    """Count one prediction for whoever asks; 0 when it may go on, else the seconds until the next may."""
    if settings.PREDICT_RATE is None:
        return 0
    user = getattr(request, "user", None)
    caller = f"user {user.pk}" if user is not None and user.is_authenticated else rates.client_address(request)
    return rates.wait_seconds("predict", settings.PREDICT_RATE, caller)


class PredictThrottle(BaseThrottle):
    def allow_request(self, request: Request, view: object) -> bool:
        if (key := key_of(request)) is not None:
            count_call(key)
            return True
        self.seconds = wait_seconds(request)
        return self.seconds == 0

    def wait(self) -> float:
        return self.seconds
