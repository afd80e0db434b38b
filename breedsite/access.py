"""Who asks, and what they may: a browser that signed in or a program with a key, as every view of the API asks for it.

    class Runs(ProgramView):
        scopes = {"GET": "read", "POST": "train"}                # what a key needs
        permissions = {"GET": "trainer.view_trainingrun", "POST": "trainer.add_trainingrun"}   # what the person needs

A key may do what its scopes and its owner's permissions both allow. A method without a permission asks for an account
alone: such a view shows people their own objects.
"""

from collections.abc import Iterable
from typing import Any, ClassVar

from rest_framework.authentication import SessionAuthentication
from rest_framework.exceptions import PermissionDenied
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.permissions import BasePermission
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle
from rest_framework.views import APIView

from breedsite import rates
from breedsite.errors import CsrfFailed, TooOften
from breedsite.keys import Bearer
from breedsite.models import ApiKey
from classifier.problems import Refused


class Session(SessionAuthentication):
    """A browser that signed in, with the form's token; everybody else is anonymous."""

    def authenticate_header(self, request: Request) -> str:
        return "Session"  # with it DRF answers 401, not 403, to who is not signed in

    def enforce_csrf(self, request: Request) -> None:
        # Read by our own parser first: Django's, which would look for the token in the form, then finds it read.
        request.data  # noqa: B018
        try:
            super().enforce_csrf(request)
        except PermissionDenied as refusal:
            raise CsrfFailed from refusal


class AlwaysJson(DefaultContentNegotiation):
    """Whatever Accept says, the answer is JSON: an error that cannot be told would be worse."""

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: str | None = None
    ) -> Any:
        first = next(iter(renderers))
        return first, first.media_type


def key_of(request: Any) -> ApiKey | None:
    """The key with which a request came; None for a browser, and for nobody."""
    key = getattr(request, "auth", None)
    return key if isinstance(key, ApiKey) else None


def need_scope(key: ApiKey, scope: str) -> None:
    if not key.allows(scope):
        raise Refused("forbidden", f"This key lacks the scope {scope}; it has {', '.join(key.scopes)}.")


class Scoped(BasePermission):
    """What the view's `scopes` and `permissions` ask for by method. A method of a view without its scope is an error of
    ours and lets nobody in."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        assert isinstance(view, ProgramView)
        if not request.user or not request.user.is_authenticated:
            return False
        method = "GET" if request.method == "HEAD" else str(request.method)
        if method == "OPTIONS" or not hasattr(view, method.lower()):
            return True  # 405, or which methods there are
        if (key := key_of(request)) is not None:
            need_scope(key, view.scopes[method])
        needed = view.permissions.get(method)
        return needed is None or request.user.has_perm(needed)


class KeyThrottle(BaseThrottle):
    """As many calls as the key's own rate allows, of all kinds and in all processes together."""

    def allow_request(self, request: Request, view: APIView) -> bool:
        if (key := key_of(request)) is not None:
            count_call(key)
        return True


def count_call(key: ApiKey) -> None:
    """Raises TooOften where the key has had its calls."""
    if wait := rates.wait_seconds("key", key.allowed_rate, str(key.pk)):
        raise TooOften(f"Too many requests with this key: try again in {wait} seconds.", wait)


class ProgramView(APIView):
    """A view of the API for programs and for browsers that signed in."""

    authentication_classes = [Bearer, Session]
    permission_classes = [Scoped]
    throttle_classes = [KeyThrottle]
    content_negotiation_class = AlwaysJson
    scopes: ClassVar[dict[str, str]] = {}  # by method
    permissions: ClassVar[dict[str, str]] = {}  # by method, as Django names them
