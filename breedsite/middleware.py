"""What every answer carries: its number, the rules for the browser, and a brake on guessing passwords."""

import functools
from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponseBase, HttpResponseNotAllowed
from django.urls import reverse

from breedsite import rates
from breedsite.errors import problem_page
from classifier.gate import request_id as new_request_id

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
    """At most `LOGIN_RATE` sign-in attempts per address, on the admin's page and the site's together."""

    @functools.cache
    def forms() -> set[str]:  # the URLs are not there yet when middleware is made
        return {reverse("admin:login"), reverse("login")}

    def middleware(request: HttpRequest) -> HttpResponseBase:
        if request.method == "POST" and settings.LOGIN_RATE and request.path in forms():
            wait = rates.wait_seconds("login", settings.LOGIN_RATE, rates.client_address(request))
            if wait:
                return problem_page(
                    request,
                    "rate_limited",
                    f"Too many attempts to sign in: try again in {wait} seconds.",
                    retry_after_seconds=wait,
                )
        return get_response(request)

    return middleware


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
