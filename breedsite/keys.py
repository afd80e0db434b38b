"""`Authorization: Bearer breedsite_…`: which key asks. A wrong one is refused and never taken for nobody."""

import threading
import time
from collections.abc import Callable

from django.conf import settings
from django.contrib.auth.models import User
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from breedsite import rates
from breedsite.errors import TooOften
from breedsite.models import ApiKey
from breedsite.models.key import KeyRefused, digest

KNOWN_SECONDS = 5.0  # a key that is revoked, or whose owner changes, is believed for so long by the other processes
REMEMBERED = 1000  # keys


class Known:
    """The keys of this process's callers: each is read from the database once in `seconds`, not with every call.

    One that was right before is remembered beyond that: to ask again with it is no guess. Nothing is locked while the
    database is asked, so that a slow answer to one caller keeps nobody else waiting.
    """

    def __init__(self, seconds: float, *, most: int = REMEMBERED) -> None:
        self.seconds = seconds
        self.most = most
        self.lock = threading.Lock()
        self.keys: dict[str, tuple[ApiKey, float]] = {}  # by digest: the key, and since when it is known (monotonic)

    def remembers(self, secret: str) -> bool:
        return digest(secret) in self.keys

    def key(self, secret: str) -> ApiKey:
        """Raises KeyRefused, and what the database raises where it is away."""
        name, asked_at = digest(secret), time.monotonic()
        known = self.keys.get(name)
        if known is not None and asked_at - known[1] < self.seconds:
            return known[0]
        try:
            key = ApiKey.objects.authenticate(secret)
        except KeyRefused:
            self.forget(name)
            raise
        key.used()
        with self.lock:
            self.keys.pop(name, None)  # the last to ask is the last in line to be forgotten
            self.keys[name] = key, asked_at
            if len(self.keys) > self.most:
                del self.keys[next(iter(self.keys))]
        return key

    def forget(self, name: str) -> None:
        with self.lock:
            self.keys.pop(name, None)

    def clear(self) -> None:
        with self.lock:
            self.keys.clear()


class Barred:
    """Addresses that guessed too often, until when. Each process knows those whose last guess it heard itself."""

    def __init__(self, *, most: int = REMEMBERED, now: Callable[[], float] = time.monotonic) -> None:
        self.most = most
        self.now = now
        self.lock = threading.Lock()
        self.until: dict[str, float] = {}

    def seconds(self, address: str) -> int:
        """How long still; 0 for an address that may try."""
        left = self.until.get(address, 0.0) - self.now()
        return int(left) + 1 if left > 0 else 0

    def bar(self, address: str, seconds: float) -> None:
        with self.lock:
            self.until.pop(address, None)
            self.until[address] = self.now() + seconds
            if len(self.until) > self.most:
                del self.until[next(iter(self.until))]


known = Known(KNOWN_SECONDS)
barred = Barred()


class Bearer(BaseAuthentication):
    """A program with a key. Keys that let nobody in are counted by address, as many as LOGIN_RATE says, apart from the
    passwords: a forgotten program must not lock its neighbours out of the form. Then the address hears 429, and what it
    sends is not looked at; keys that were right before go on meanwhile."""

    def authenticate(self, request: Request) -> tuple[User, ApiKey] | None:
        scheme, _, secret = request.headers.get("Authorization", "").strip().partition(" ")
        if scheme.lower() != "bearer":
            return None  # another server in front of this one may use the header for passwords of its own
        secret, address = secret.strip(), rates.client_address(request._request)
        if (wait := barred.seconds(address)) and not known.remembers(secret):
            raise too_many_guesses(wait)
        try:
            key = known.key(secret)
        except KeyRefused as refusal:
            if wait := rates.wait_seconds("wrong key", settings.LOGIN_RATE, address):
                barred.bar(address, wait)
                raise too_many_guesses(wait) from refusal
            raise AuthenticationFailed(str(refusal), code="key_refused") from refusal
        return key.owner, key

    def authenticate_header(self, request: Request) -> str:
        """RFC 6750: what to send, and where something was sent that it is no good."""
        return 'Bearer error="invalid_token"' if "Authorization" in request.headers else "Bearer, Session"


def too_many_guesses(wait: int) -> TooOften:
    return TooOften(f"Too many wrong keys from this address: try again in {wait} seconds.", wait)
