"""What every answer carries: its number, the rules for the browser, and a brake on guessing passwords."""

import functools
import hashlib
import unicodedata
from collections.abc import Callable
from http import HTTPStatus

from django.conf import settings
from django.http import HttpRequest, HttpResponseBase, HttpResponseNotAllowed
from django.urls import reverse

from breedsite import rates
from breedsite.errors import problem_page
from breedsite.rates import Rate
from classifier.gate import request_id as new_request_id

GUESSES = Rate(5, 15 * 60)  # wrong passwords of one address for one name
Answer = Callable[[HttpRequest], HttpResponseBase]

CONTENT_SECURITY_POLICY = "; ".join(
    [
        "default-src 'self'",
        "img-src 'self' blob: data:",
        "object-src 'none'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
        "form-action 'self'",
    ]
)
PERMISSIONS_POLICY = "camera=(self), microphone=(), geolocation=(), payment=(), usb=()"


def request_id(get_response: Answer) -> Answer:
    """Number each request, so that a person's report finds its log line. The gate has numbered those it let in."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        number = request.META.setdefault("breedsite.request_id", new_request_id())
        response = get_response(request)
        if found := request.resolver_match:
            request.META["breedsite.route"] = "/" + found.route.rstrip("/")  # the gate counts it: a pattern, no path
        response.headers["X-Request-ID"] = number
        return response

    return middleware


def browser_rules(get_response: Answer) -> Answer:
    """Nothing inline, nothing from elsewhere, no frame; a view may set a stricter policy of its own."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        response = get_response(request)
        response.headers.setdefault("Content-Security-Policy", CONTENT_SECURITY_POLICY)
        response.headers.setdefault("Permissions-Policy", PERMISSIONS_POLICY)
        return response

    return middleware


def login_brake(get_response: Answer) -> Answer:
    """At most `LOGIN_RATE` attempts to sign in of one address, and `GUESSES` wrong ones of it at one name, on the
    admin's page and the site's together. Other addresses may still sign in under that name: nobody can lock it."""

    @functools.cache
    def forms() -> set[str]:  # the URLs are not there yet when middleware is made
        return {reverse("admin:login"), reverse("login")}

    def middleware(request: HttpRequest) -> HttpResponseBase:
        if request.method != "POST" or request.path not in forms():
            return get_response(request)
        address = rates.client_address(request)
        wait = rates.wait_seconds("login", settings.LOGIN_RATE, address)
        guesser = "" if wait else guesser_of(request, address)
        if guesser:
            # Counted before it is evaluated, or many at once would all find room; taken back where it was right.
            wait = rates.wait_seconds("guess", GUESSES, guesser)
        if wait:
            sentence = f"Too many attempts to sign in: try again in {wait} seconds."
            return problem_page(request, "rate_limited", sentence, retry_after_seconds=wait)
        response = get_response(request)
        if guesser and response.status_code != HTTPStatus.OK:  # a wrong password shows the form again
            rates.take_back("guess", guesser)
        return response

    return middleware


def guesser_of(request: HttpRequest, address: str) -> str:
    """Who tries a password of whom, as a digest: names are kept nowhere, and are as long as somebody likes. Empty where
    the form is: nothing is evaluated then."""
    name, password = request.POST.get("username", "").strip(), request.POST.get("password", "")
    if not name or not password:
        return ""
    same = unicodedata.normalize("NFKC", name).casefold()  # Django's form strips and normalizes too
    return hashlib.sha256(f"{same}\0{address}".encode(errors="replace")).hexdigest()


def plain_refusals(get_response: Answer) -> Answer:
    """Django's own views refuse a method with an empty page: say it as everything else is said."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        response = get_response(request)
        if isinstance(response, HttpResponseNotAllowed) and not response.content:
            problem = problem_page(request, "method_not_allowed", f"{request.method} is not answered here.")
            problem.headers["Allow"] = response.headers["Allow"]
            return problem
        return response

    return middleware
