"""People with an account, where nobody else may ask: from the form to an answered photo."""

import re

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from breedsite.rates import Rate

PHRASE = "a long phrase of ann"


@pytest.fixture
def ann(db) -> User:
    """No member of the staff."""
    return User.objects.create_user("ann", password=PHRASE)


@pytest.fixture(autouse=True)
def for_accounts_alone(settings) -> None:
    settings.ALLOW_ANONYMOUS_PREDICT = False
    settings.PREDICT_RATE = settings.LOGIN_RATE = None


def token(client: Client, path: str) -> str:
    """Of the first form on a page."""
    return re.findall(r'name="csrfmiddlewaretoken" value="(\w+)"', client.get(path).text)[0]


def test_an_account_without_staff_signs_in_asks_and_signs_out(ann, active_version, picture):
    client = Client(enforce_csrf_checks=True)

    def send(path: str, page: str, **fields: object):
        return client.post(path, {"csrfmiddlewaretoken": token(client, page), **fields})

    refused = client.post("/", {"image": SimpleUploadedFile("dog.jpg", picture)})
    assert refused.status_code == 401 and refused.text.count('href="/login/"') == 3  # on top, below it, in the refusal
    wrong = send("/login/", "/login/", username="ann", password="another")
    assert wrong.status_code == 200 and "enter a correct username and password" in wrong.text
    signed_in = send("/login/", "/login/", username="ann", password=PHRASE)
    assert (signed_in.status_code, signed_in.headers["Location"]) == (302, "/")
    assert 'href="/login/"' not in client.get("/").text.replace("hidden><a href", "")
    answered = send("/", "/", image=SimpleUploadedFile("dog.jpg", picture))
    assert answered.status_code == 200 and 'class="result' in answered.text
    header = {"x-csrftoken": token(client, "/")}
    by_script = client.post("/api/predictImage", picture, content_type="image/jpeg", headers=header)
    assert by_script.status_code == 200
    assert send("/logout/", "/").headers["Location"] == "/"
    assert client.post("/api/predictImage", picture, content_type="image/jpeg").status_code == 401


@pytest.mark.parametrize(
    ("next", "location"),
    [
        ("/api/docs", "/api/docs"),
        ("", "/"),
        ("https://evil.example/", "/"),
        ("//evil.example/", "/"),
        ("javascript:alert(1)", "/"),
        ("http:///evil.example", "/"),
        ("/\\evil.example", "/"),
    ],
)
def test_it_leads_on_within_the_site_alone(client: Client, ann, next: str, location: str):
    shown = client.get("/login/", {"next": next}).text
    assert f'name="next" value="{next if next == location else ""}"' in shown
    response = client.post("/login/", {"username": "ann", "password": PHRASE, "next": next})
    assert (response.status_code, response.headers["Location"]) == (302, location)


def test_both_ways_to_sign_in_count_as_one(ann, settings):
    settings.LOGIN_RATE = Rate(3, 60)
    client = Client(REMOTE_ADDR="192.0.2.77")
    paths = ["/login/", "/admin/login/", "/login/", "/login/", "/admin/login/"]
    statuses = [client.post(path, {"username": "ann", "password": "guess"}).status_code for path in paths]
    assert statuses == [200, 200, 200, 429, 429]


def test_an_account_that_was_closed_stays_outside(client: Client, ann):
    User.objects.update(is_active=False)
    assert client.post("/login/", {"username": "ann", "password": PHRASE}).status_code == 200


def test_where_everybody_may_ask_nobody_is_asked_to_sign_in(client: Client, active_version, settings):
    settings.ALLOW_ANONYMOUS_PREDICT = True
    shown = client.get("/").text
    assert "ign in</a> first" not in shown and "Sign out" not in shown and shown.count('href="/login/"') == 1  # hidden
