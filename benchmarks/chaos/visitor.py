"""Who asks the site over HTTP while something is broken: anybody with a photo, and an administrator."""

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY, get_user_model

from tests.photos import draw, encoded

PATIENCE_SECONDS = 30.0
TOKEN = "c" * 32  # of the forms: cookie and header agree
PHOTO = encoded(draw(0, 0))


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes

    @property
    def code(self) -> str:
        """Of a refusal; empty for everything else."""
        try:
            return str(json.loads(self.body).get("code", ""))
        except (ValueError, AttributeError):
            return ""

    @property
    def brief(self) -> str:
        return f"{self.status} {self.code}".strip()


@dataclass(frozen=True)
class Visitor:
    """With the cookies of somebody, or without any."""

    cookies: Mapping[str, str]

    def __call__(self, method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
        """Header names are written with underscores. Raises OSError where nobody answers."""
        connection = http.client.HTTPConnection("127.0.0.1", settings.PORT, timeout=PATIENCE_SECONDS)
        said = {"Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())} if self.cookies else {}
        said |= {"X-CSRFToken": TOKEN, "Accept": "application/json"} if self.cookies else {}
        said |= {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            connection.request(method, path, body, said)
            response = connection.getresponse()
            return Answer(response.status, response.read())
        finally:
            connection.close()

    def predict(self) -> Answer:
        return self("POST", "/api/predictImage", PHOTO, Content_Type="image/png")

    def listens(self) -> bool:
        try:
            return self("GET", "/healthz").status == 200
        except OSError:
            return False

    def state(self, run: int) -> dict[str, Any]:
        """What the page of a run is told."""
        answer = self("GET", f"/admin/trainer/trainingrun/{run}/state/")
        return dict(json.loads(answer.body)) if answer.status == 200 else {"refused": answer.brief}


def anybody() -> Visitor:
    return Visitor({})


def administrator() -> Visitor:
    """A new one, signed in without the form."""
    user = get_user_model().objects.create_superuser("chaos")
    session = import_module(settings.SESSION_ENGINE).SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.save()
    return Visitor({settings.SESSION_COOKIE_NAME: str(session.session_key), settings.CSRF_COOKIE_NAME: TOKEN})
