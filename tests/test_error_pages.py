"""What a person sees instead of the page that was asked for."""

import pytest
from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.http import Http404
from django.test import Client, RequestFactory

from breedsite.errors import problem_page
from classifier import views
from classifier.problems import PROBLEMS


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
    assert "/secret/path" not in page and "Traceback" not in page and "RuntimeError" not in page


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
