"""What a person sees instead of the page that was asked for."""

import errno
import json
import re

import pytest
from django.conf import settings
from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.db import DataError, InterfaceError, OperationalError
from django.http import Http404
from django.test import Client, RequestFactory

from breedsite.errors import problem_page
from classifier import views
from classifier.gate import BodyLimits, overloaded
from classifier.problems import PROBLEMS, document, written
from tests.live import FORM, Wire, form, part


def read(response) -> str:
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    return response.content.decode()


@pytest.mark.parametrize(
    ("raised", "status", "sentence"),
    [
        (SuspiciousOperation("/secret/path"), 400, "could not be read"),
        (PermissionDenied("/secret/path"), 403, "may not"),
        (Http404("/secret/path"), 404, "nothing at this address"),
        (RuntimeError("/secret/path"), 500, "Something went wrong here"),
        (OSError(errno.ENOSPC, "No space left on device", "/secret/path"), 503, "The disk is full"),
        (OSError(errno.EIO, "Input/output error", "/secret/path"), 500, "Something went wrong here"),
        (OperationalError("database or disk is full"), 503, "The disk is full"),
        (OperationalError("no route to /secret/path"), 503, "The database cannot be used just now"),
        (InterfaceError("connection already closed"), 503, "The database cannot be used just now"),
        (DataError("a mistake of ours"), 500, "Something went wrong here"),
    ],
)
def test_a_person_reads_a_sentence_and_a_number(client: Client, monkeypatch, raised, status: int, sentence: str):
    def fail(request):
        raise raised

    monkeypatch.setattr(views, "page", fail)
    client.raise_request_exception = False
    response = client.get("/", headers={"accept": "text/html"})
    page = read(response)
    assert response.status_code == status
    assert sentence in page and f"<code>{response.headers['X-Request-ID']}</code>" in page
    assert "/secret/path" not in page and "Traceback" not in page and "Error" not in page
    assert ("Retry-After" in response.headers) is (status == 503)


def test_a_method_that_is_not_answered_is_told_as_well(client: Client):
    response = client.put("/", headers={"accept": "text/html"})
    assert response.status_code == 405 and "Method not allowed" in read(response)


@pytest.mark.parametrize("code", sorted(PROBLEMS))
def test_every_refusal_has_a_page(code: str):
    response = problem_page(RequestFactory().get("/", headers={"accept": "text/html"}), code, 'A <b> & "sentence".')
    page = read(response)
    assert response.status_code == PROBLEMS[code][0] and f"<h1>{PROBLEMS[code][1]}</h1>" in page
    assert "<p>A &lt;b&gt; &amp; &quot;sentence&quot;.</p>" in page
    assert 'href="/"' in page


def test_a_form_too_large_for_the_server_reads_a_page(wire: Wire):
    body = form(part("image", bytes(16 * 1024**2)))
    told = wire("POST", "/", body, content_type=FORM, accept="text/html,*/*;q=0.8")
    assert told.status == 413 and told.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "at most 15 MB are accepted here" in told.body.decode()
    assert wire("POST", "/api/predictImage", body, content_type=FORM, accept="text/html").json["status"] == 413


def test_a_refusal_before_django_is_a_page_for_people_alone():
    busy = overloaded("a-number")
    media_type, page = written(busy, path="/", accept="text/html,application/xml;q=0.9,*/*;q=0.8")
    assert media_type == "text/html; charset=utf-8"
    assert b"<p>Too many photos at once: try again in a moment.</p>" in page and b"<code>a-number</code>" in page
    for path, accept in [("/", "*/*"), ("/", ""), ("/", "application/json"), ("/api/predictImage", "text/html")]:
        media_type, body = written(busy, path=path, accept=accept)
        assert media_type == "application/problem+json" and json.loads(body) == busy


def test_no_refusal_writes_markup():
    hostile = document("malformed_request", "<script>alert(1)</script>", request_id='"><b>')
    page = written(hostile, path="/", accept="text/html")[1]
    assert b"<script" not in page and b"<b>" not in page


def test_the_page_before_django_loads_files_that_exist():
    page = written(BodyLimits(predict=1).refusal("/", "x"), path="/", accept="text/html")[1].decode()
    named = re.findall(r'href="/static/(.+?)"', page)
    assert named and all((settings.BASE_DIR / "static" / name).is_file() for name in named)
