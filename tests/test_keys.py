"""Keys for programs: shown once, stored hashed, refused in words, counted, and never more than their owner."""

import logging
import re
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings as configured
from django.contrib.auth.models import Permission, User
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.db import OperationalError, connection
from django.http import HttpResponse
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.test import APIRequestFactory

from breedsite import keys, rates
from breedsite.access import ProgramView
from breedsite.models import ApiKey
from breedsite.models.key import FORM, ApiKeyQuerySet, Scope, digest
from breedsite.operations import needed
from breedsite.rates import Rate, SharedCounts


@pytest.fixture(autouse=True)
def nothing_known(settings) -> None:
    """Neither keys nor guesses of another test."""
    settings.LOGIN_RATE = None
    SharedCounts(configured.CACHE_URL).client.flushdb()
    rates.counts.cache_clear()
    keys.known.clear()
    keys.barred.until.clear()


@pytest.fixture
def ann(db) -> User:
    return User.objects.create_user("ann")


def issue(owner: User, *scopes: str, **options: Any) -> tuple[ApiKey, str]:
    return ApiKey.objects.issue(owner, name=options.pop("name", "robot"), scopes=scopes or ["predict"], **options)


def bearer(secret: str) -> dict[str, str]:
    return {"authorization": f"Bearer {secret}"}


def predict(client: Client, picture: bytes, secret: str | None = None, **extra: Any) -> Any:
    headers = {} if secret is None else bearer(secret)
    return client.post("/api/predictImage", picture, content_type="image/jpeg", headers=headers, **extra)


# --- the row ----------------------------------------------------------------------------------------------------------
def test_the_secret_has_256_bits_and_only_its_hash_is_stored(ann):
    key, secret = issue(ann)
    assert re.fullmatch(r"breedsite_[0-9a-f]{8}_[A-Za-z0-9_-]{43}", secret) and FORM.fullmatch(secret)
    row = ApiKey.objects.values().get()
    assert row["digest"] == digest(secret) and row["prefix"] == secret[10:18]
    assert secret[19:] not in str(row) and secret[19:] not in f"{key} {key!r}"
    assert issue(ann, name="another")[1] != secret


def test_scopes_are_kept_once_and_in_one_order(ann):
    assert issue(ann, "train", "predict", "train")[0].scopes == ["predict", "train"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"scopes": []}, "one or more of predict, read, train, admin"),
        ({"scopes": ["all"]}, "one or more of predict, read, train, admin"),
        ({"scopes": ["read"], "rate": "often"}, "'often' is not a rate: write 600/min"),
        ({"scopes": ["read"], "name": ""}, "cannot be blank"),
        ({"scopes": ["read"], "name": "x" * 65}, "at most 64"),
    ],
)
def test_what_makes_no_key_is_said(ann, options, sentence):
    with pytest.raises(ValidationError, match=sentence):
        ApiKey.objects.issue(ann, **{"name": "robot"} | options)
    assert not ApiKey.objects.exists()


def test_a_name_is_free_again_once_its_key_is_revoked(ann):
    key, _ = issue(ann)
    with pytest.raises(ValidationError, match="There is a key of this name already"):
        issue(ann)
    issue(User.objects.create_user("bob"))
    key.revoke()
    issue(ann)


def test_of_two_that_are_asked_for_at_once_the_second_is_refused_in_words(ann, monkeypatch):
    key = ApiKey(owner=ann, name="robot", scopes=["read"])
    clean = key.full_clean
    monkeypatch.setattr(key, "full_clean", lambda: (monkeypatch.undo(), clean(), issue(ann)))
    with pytest.raises(ValidationError, match="There is a key of this name already"):
        key.issue()
    assert ApiKey.objects.count() == 1


def test_a_revoked_key_stays_revoked_since_then(ann):
    key, _ = issue(ann)
    key.revoke()
    first = key.revoked_at
    key.revoke()
    assert first is not None and key.revoked_at == first and key.state == "revoked"
    assert not ApiKey.objects.live().exists()


@pytest.mark.parametrize(
    ("own", "allowed"),
    [
        ("predict", {"predict"}),
        ("read", {"read"}),
        ("train", {"read", "train"}),
        ("admin", {"predict", "read", "train", "admin"}),
        ("no scope", set()),
    ],
)
def test_scopes_include_others(own: str, allowed: set[str]):
    assert {scope for scope in Scope.values if ApiKey(scopes=[own]).allows(scope)} == allowed


def test_the_use_is_noted_once_a_minute(ann, monkeypatch):
    _, secret = issue(ann)
    monkeypatch.setattr(keys.known, "seconds", 0)
    noted = set()
    for _ in range(5):
        keys.known.key(secret)
        noted.add(ApiKey.objects.get().last_used_at)
    assert len(noted) == 1 and None not in noted
    ApiKey.objects.update(last_used_at=timezone.now() - timedelta(minutes=2))
    keys.known.key(secret)
    assert timezone.now() - ApiKey.objects.get().last_used_at < timedelta(seconds=30)


def test_who_asks_is_answered_where_the_use_cannot_be_written(ann, monkeypatch, caplog):
    _, secret = issue(ann)
    monkeypatch.setattr("django.db.models.query.QuerySet.update", away)
    assert keys.known.key(secret).owner == ann
    assert "could not be noted" in caplog.text and secret not in caplog.text


def away(*args: object, **options: object) -> None:
    raise OperationalError("the server closed the connection")


# --- predictions ------------------------------------------------------------------------------------------------------
def test_a_key_predicts_where_nobody_else_may(client: Client, ann, active_version, picture, settings):
    settings.ALLOW_ANONYMOUS_PREDICT = False
    _, secret = issue(ann)
    assert predict(client, picture).status_code == 401
    assert predict(client, picture, secret).status_code == 200
    assert predict(Client(enforce_csrf_checks=True), picture, secret).status_code == 200, "no form, so no token"
    assert ApiKey.objects.get().last_used_at is not None


@pytest.mark.parametrize("scheme", ["bearer", "BEARER"])
def test_the_word_bearer_may_be_written_as_one_likes(client: Client, ann, active_version, picture, scheme):
    _, secret = issue(ann)
    headers = {"authorization": f"{scheme}   {secret} "}
    response = client.post("/api/predictImage", picture, content_type="image/jpeg", headers=headers)
    assert response.status_code == 200


def test_other_ways_to_authorize_are_none_of_our_business(client: Client, db, active_version, picture):
    headers = {"authorization": "Basic YTpi"}  # of a server in front of this one
    response = client.post("/api/predictImage", picture, content_type="image/jpeg", headers=headers)
    assert response.status_code == 200


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda key, secret: "", "This key is not known here."),
        (lambda key, secret: "hello", "This key is not known here."),
        (lambda key, secret: "breedsite_00000000_" + "a" * 43, "This key is not known here."),
        (lambda key, secret: secret[:-1] + ("a" if secret[-1] != "a" else "b"), "This key is not known here."),
        (lambda key, secret: secret + "x", "This key is not known here."),
        (lambda key, secret: secret + "\n", None),
        (lambda key, secret: secret + "\xff", "This key is not known here."),
        (lambda key, secret: key.revoke() or secret, r"This key was revoked on \d{4}-\d\d-\d\d."),
        (
            lambda key, secret: ApiKey.objects.update(expires_at=timezone.now()) and secret,
            r"This key expired on \d{4}-\d\d-\d\d: ask for a new one.",
        ),
        (lambda key, secret: User.objects.update(is_active=False) and secret, "The account of this key is closed."),
        (lambda key, secret: User.objects.all().delete() and secret, "This key is not known here."),
    ],
)
def test_a_key_that_is_no_good_is_refused_and_nobody_is_answered(
    client: Client, ann, active_version, picture, spoil, sentence
):
    key, secret = issue(ann)
    response = predict(client, picture, spoil(key, secret))
    if sentence is None:
        assert response.status_code == 200, "white space around it is no part of it"
        return
    assert (response.status_code, response.json()["code"]) == (401, "key_refused")
    assert re.fullmatch(sentence, response.json()["detail"])
    assert response.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'


def test_a_key_without_the_scope_is_told_which_one(client: Client, ann, active_version, picture):
    _, secret = issue(ann, "read", "train")
    response = predict(client, picture, secret)
    assert (response.status_code, response.json()["code"]) == (403, "forbidden")
    assert response.json()["detail"] == "This key lacks the scope predict; it has read, train."
    assert client.post("/", {"image": ""}, headers=bearer(secret)).status_code == 403, "the form knows keys, too"


def test_a_key_is_read_once_in_five_seconds(ann, active_version, picture, monkeypatch):
    _, secret = issue(ann)
    client = Client()
    predict(client, picture, secret)
    with CaptureQueriesContext(
        connection,
    ) as queries:
        for _ in range(5):
            assert predict(client, picture, secret).status_code == 200
    assert len(queries) == 0
    ApiKey.objects.get().revoke()
    assert predict(client, picture, secret).status_code == 200, "it lives on for a moment"
    monkeypatch.setattr(keys.known, "seconds", 0)
    assert predict(client, picture, secret).status_code == 401
    monkeypatch.setattr(keys.known, "seconds", 3600)
    assert predict(client, picture, secret).status_code == 401, "it is forgotten for good"
    assert keys.KNOWN_SECONDS <= 5


def test_a_process_forgets_keys_when_there_are_too_many(ann):
    known = keys.Known(5, most=3)
    secrets = [issue(ann, name=str(number))[1] for number in range(5)]
    for secret in secrets:
        known.key(secret)
    assert [known.remembers(secret) for secret in secrets] == [False, False, True, True, True]


def test_while_the_database_is_away_anonymous_predictions_go_on_and_keys_hear_503(
    ann, active_version, picture, monkeypatch
):
    _, secret = issue(ann)
    client = Client(raise_request_exception=False)
    monkeypatch.setattr("breedsite.models.key.ApiKeyQuerySet.authenticate", away)
    assert predict(client, picture).status_code == 200
    response = predict(client, picture, secret)
    assert (response.status_code, response.json()["code"]) == (503, "database_unavailable")
    assert response.headers["Retry-After"]


# --- how often --------------------------------------------------------------------------------------------------------
def test_a_key_has_its_own_rate(client: Client, ann, active_version, picture, settings):
    settings.PREDICT_RATE, settings.KEY_RATE = Rate(1, 60), Rate(2, 60)
    _, usual = issue(ann)
    _, rare = issue(ann, name="rare", rate="1/hour")
    statuses = [predict(client, picture, secret).status_code for secret in (usual, usual, usual, rare, rare)]
    assert statuses == [200, 200, 429, 200, 429]
    response = predict(client, picture, rare)
    assert 1 <= int(response.headers["Retry-After"]) <= 3960
    assert response.json()["detail"].startswith("Too many requests with this key: try again in ")
    assert predict(client, picture).status_code == 200, "nobody's predictions are counted apart"


def test_guesses_of_keys_are_counted_by_address(client: Client, ann, active_version, picture, settings, monkeypatch):
    settings.LOGIN_RATE = Rate(3, 60)
    _, secret = issue(ann)
    assert predict(client, picture, secret).status_code == 200
    evaluated = []
    authenticate = ApiKeyQuerySet.authenticate
    monkeypatch.setattr(
        "breedsite.models.key.ApiKeyQuerySet.authenticate",
        lambda self, secret: evaluated.append(secret) or authenticate(self, secret),
    )
    wrong = [f"breedsite_00000000_{number:043}" for number in range(100)]
    statuses = [predict(client, picture, guess, REMOTE_ADDR="192.0.2.9").status_code for guess in wrong]
    assert statuses == [401] * 3 + [429] * 97 and len(evaluated) == 4
    response = predict(client, picture, wrong[0], REMOTE_ADDR="192.0.2.9")
    assert response.json()["code"] == "rate_limited" and 1 <= int(response.headers["Retry-After"]) <= 66
    assert predict(client, picture, secret, REMOTE_ADDR="192.0.2.9").status_code == 200, "it was right before"
    assert predict(client, picture, wrong[0], REMOTE_ADDR="192.0.2.10").status_code == 401, "others are not kept out"
    assert predict(client, picture, REMOTE_ADDR="192.0.2.9").status_code == 200
    login = client.post("/login/", {"username": "ann", "password": "x"}, REMOTE_ADDR="192.0.2.9")
    assert login.status_code == 200, "a forgotten program locks nobody out of the form"


def test_an_address_may_try_again_when_its_time_is_over():
    now = 100.0
    barred = keys.Barred(most=2, now=lambda: now)
    barred.bar("a", 10)
    assert barred.seconds("a") == 11 and barred.seconds("b") == 0
    now = 110.0
    assert barred.seconds("a") == 0
    barred.bar("b", 10), barred.bar("c", 10)
    assert list(barred.until) == ["b", "c"]


# --- what a view says it needs ----------------------------------------------------------------------------------------
class Runs(ProgramView):
    scopes = {"GET": "read", "POST": "train", "DELETE": "admin"}
    permissions = {"POST": "trainer.add_trainingrun"}

    def get(self, request: Request) -> Response:
        return Response({"name": request.user.username})

    def post(self, request: Request) -> Response:
        return Response(status=201)

    def delete(self, request: Request) -> Response:
        return Response(status=204)

    def put(self, request: Request) -> Response:
        return Response()


def ask(method: str, secret: str | None = None, user: User | None = None) -> HttpResponse:
    request = APIRequestFactory().generic(method, "/api/runs", headers=bearer(secret) if secret else {})
    if user is not None:
        request.user = user
    return Runs.as_view()(request)


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        ("predict", {"GET": 403, "HEAD": 403, "POST": 403, "DELETE": 403, "PATCH": 405, "OPTIONS": 200}),
        ("read", {"GET": 200, "HEAD": 200, "POST": 403, "DELETE": 403, "PATCH": 405, "OPTIONS": 200}),
        ("train", {"GET": 200, "HEAD": 200, "POST": 201, "DELETE": 403, "PATCH": 405, "OPTIONS": 200}),
        ("admin", {"GET": 200, "HEAD": 200, "POST": 201, "DELETE": 204, "PATCH": 405, "OPTIONS": 200}),
    ],
)
def test_a_view_says_which_scope_each_method_needs(ann, scope, expected):
    ann.user_permissions.add(Permission.objects.get(codename="add_trainingrun"))
    _, secret = issue(ann, scope)
    assert {method: ask(method, secret).status_code for method in expected} == expected


def test_a_key_may_never_do_more_than_its_owner(ann):
    _, secret = issue(ann, "admin")
    assert ask("POST", secret).status_code == 403
    assert ask("POST", user=ann).status_code == 403
    assert ask("DELETE", user=ann).status_code == 204, "no permission is named: an account is enough"
    assert ask("POST", issue(User.objects.create_superuser("root"), "train")[1]).status_code == 201


def test_nobody_is_asked_to_sign_in_or_to_send_a_key(db):
    for method in ("GET", "POST", "OPTIONS"):
        response = ask(method)
        assert response.status_code == 401 and response.headers["WWW-Authenticate"] == "Bearer, Session"


def test_a_method_without_a_scope_lets_no_key_in(ann):
    _, secret = issue(ann, "admin")
    with pytest.raises(KeyError):
        ask("PUT", secret)


def test_calls_of_every_kind_count_for_the_key(ann):
    _, secret = issue(ann, "admin", rate="2/min")
    assert [ask(method, secret).status_code for method in ("GET", "DELETE", "GET")] == [200, 204, 429]


def test_the_description_says_what_is_needed():
    assert needed(Runs(), "GET") == "A key needs the scope `read`."
    assert needed(Runs(), "POST") == (
        "A key needs the scope `train`. The account, a key's owner too, needs the permission `trainer.add_trainingrun`."
    )
    assert needed(object(), "GET") == ""


# --- the command ------------------------------------------------------------------------------------------------------
def test_the_command_prints_the_secret_alone_so_that_a_script_can_keep_it(ann, capsys):
    call_command("apikey", "create", "ann", "robot", "--scope", "read", "--scope", "predict", "--days", "30")
    said = capsys.readouterr()
    key = ApiKey.objects.authenticate(said.out.removesuffix("\n"))
    assert key.scopes == ["predict", "read"] and key.owner == ann
    assert timedelta(days=29) < key.expires_at - timezone.now() <= timedelta(days=30)
    assert f"{key.prefix} 'robot' of ann: predict, read; expires " in said.err and said.out.strip() not in said.err


def test_the_command_lists_and_revokes(ann, capsys):
    key, _ = issue(ann)
    issue(User.objects.create_user("bob"), "admin")
    call_command("apikey", "list", "ann")
    line = f"{key.prefix} 'robot' of ann: predict; "
    assert capsys.readouterr().out == f"{line}never expires; last used: never\n"
    call_command("apikey", "list")
    assert len(capsys.readouterr().out.splitlines()) == 2
    call_command("apikey", "revoke", key.prefix)
    assert capsys.readouterr().out == f"{line}revoked.\n"
    ApiKey.objects.update(revoked_at=None, expires_at=timezone.now(), last_used_at=timezone.now())
    call_command("apikey", "list", "ann")
    assert re.fullmatch(rf"{line}expired \S+; last used: \S+ \S+\n", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["create", "nobody", "robot", "--scope", "read"], "There is no account 'nobody'."),
        (["create", "ann", "old", "--scope", "read"], "There is a key of this name already"),
        (["create", "ann", "robot", "--scope", "read", "--rate", "x"], "'x' is not a rate"),
        (["create", "ann", "robot", "--scope", "read", "--days", "0"], "a whole number of days from 1 to 3650"),
        (["create", "ann", "robot", "--scope", "read", "--days", "9" * 5000], "a whole number of days"),
        (["create", "ann", "robot", "--scope", "write"], "invalid choice"),
        (["revoke", "00000000"], r"There is no key '00000000'. Those that may be used: [0-9a-f]{8}\."),
        (["list", "nobody"], "There is no account 'nobody'."),
    ],
)
def test_the_command_says_what_is_wrong(ann, arguments, sentence):
    issue(ann, name="old")
    with pytest.raises(CommandError, match=sentence):
        call_command("apikey", *arguments)
    assert ApiKey.objects.count() == 1


def test_no_secret_is_logged(ann, active_version, picture, caplog):
    caplog.set_level(logging.DEBUG)
    key, secret = issue(ann)
    predict(Client(), picture, secret)
    key.revoke()
    keys.known.clear()
    assert predict(Client(), picture, secret).status_code == 401
    assert secret[19:] not in caplog.text
