"""The page where people make keys for their own programs."""

import re

import pytest
from django.contrib.auth.models import User
from django.test import Client

from breedsite import keys
from breedsite.forms import MOST
from breedsite.models import ApiKey

FIELDS = {"name": "robot", "scopes": ["predict"], "days": "30"}


@pytest.fixture
def ann(db) -> User:
    """No member of the staff, with no permission at all."""
    return User.objects.create_user("ann")


@pytest.fixture
def signed_in(ann, client: Client) -> Client:
    keys.known.clear()
    client.force_login(ann)
    return client


def secret_in(text: str) -> str:
    [secret] = re.findall(r'value="(breedsite_[^"]+)"', text)
    return secret


def test_a_key_is_made_shown_once_and_answers(signed_in: Client, ann, active_version, picture, settings):
    settings.ALLOW_ANONYMOUS_PREDICT = False
    assert "You have none yet." in signed_in.get("/keys/").text
    made = signed_in.post("/keys/", FIELDS)
    assert made.status_code == 200 and "no-store" in made.headers["Cache-Control"]
    secret = secret_in(made.text)
    assert ApiKey.objects.get().owner == ann and ApiKey.objects.get().rate == ""
    headers = {"authorization": f"Bearer {secret}"}
    answer = Client().post("/api/predictImage", picture, content_type="image/jpeg", headers=headers)
    assert answer.status_code == 200
    again = signed_in.get("/keys/").text
    assert secret not in again and secret[:18] in again and "You have none" not in again
    assert 'href="/keys/"' in signed_in.get("/").text


def test_a_button_revokes(signed_in: Client, ann):
    key, _ = ApiKey.objects.issue(ann, name="robot", scopes=["read"])
    revoke = f"/keys/{key.prefix}/revoke/"
    assert revoke in signed_in.get("/keys/").text
    assert signed_in.post(revoke).headers["Location"] == "/keys/"
    assert not ApiKey.objects.live().exists()
    shown = signed_in.get("/keys/").text
    assert "revoked" in shown and revoke not in shown


def test_another_persons_key_is_not_there(signed_in: Client):
    key, _ = ApiKey.objects.issue(User.objects.create_user("bob"), name="of bob", scopes=["read"])
    assert "of bob" not in signed_in.get("/keys/").text
    assert signed_in.post(f"/keys/{key.prefix}/revoke/").status_code == 404
    assert signed_in.post("/keys/00000000/revoke/").status_code == 404
    assert ApiKey.objects.live().exists()


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"name": ""}, "This field is required."),
        ({"name": "x" * 65}, "at most 64 characters"),
        ({"name": "a\0b"}, "Null characters are not allowed."),
        ({"name": "old"}, "There is a key of this name already"),
        ({"scopes": []}, "This field is required."),
        ({"scopes": ["all"]}, "all is not one of the available choices"),
        ({"days": "9999999"}, "9999999 is not one of the available choices"),
    ],
)
def test_what_makes_no_key_is_said(signed_in: Client, ann, fields, sentence):
    ApiKey.objects.issue(ann, name="old", scopes=["read"])
    refused = signed_in.post("/keys/", FIELDS | fields)
    assert refused.status_code == 400 and sentence in refused.text and 'role="alert"' in refused.text
    assert ApiKey.objects.count() == 1


def test_a_name_is_text_and_no_markup(signed_in: Client):
    shown = signed_in.post("/keys/", FIELDS | {"name": "<img src=x onerror=alert(1)>"}).text
    assert "&lt;img src=x" in shown and "<img src=x" not in shown


def test_nobody_has_keys_without_number(signed_in: Client, ann):
    for number in range(MOST):
        ApiKey.objects.issue(ann, name=str(number), scopes=["read"])
    assert f"You have {MOST} keys" in signed_in.post("/keys/", FIELDS).text
    ApiKey.objects.first().revoke()
    assert signed_in.post("/keys/", FIELDS).status_code == 200


def test_the_form_needs_its_token(ann):
    client = Client(enforce_csrf_checks=True)
    client.force_login(ann)
    assert client.post("/keys/", FIELDS).status_code == 403 and not ApiKey.objects.exists()


def test_nobody_is_led_to_the_form_to_sign_in_and_back(client: Client, db):
    assert client.get("/keys/").headers["Location"] == "/login/?next=/keys/"


def test_a_key_cannot_make_a_key(client: Client, ann):
    _, secret = ApiKey.objects.issue(ann, name="robot", scopes=["admin"])
    assert client.post("/keys/", FIELDS, headers={"authorization": f"Bearer {secret}"}).status_code in (302, 403)
    assert ApiKey.objects.count() == 1
