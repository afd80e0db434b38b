"""People with an account, where nobody else may ask: from the form to an answered photo."""

import re
from collections.abc import Iterator

import pytest
from django.contrib.auth import hashers
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from breedsite import rates
from breedsite.rates import Rate, SharedCounts

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


# --- guesses at one name ----------------------------------------------------------------------------------------------
@pytest.fixture
def evaluated(monkeypatch) -> list[str]:
    """The passwords that were compared with something."""
    seen: list[str] = []
    hasher = hashers.MD5PasswordHasher
    encode = hasher.encode

    def counted(self: object, password: str, salt: str) -> str:
        seen.append(password)
        return encode(self, password, salt)

    monkeypatch.setattr(hasher, "encode", counted)
    return seen


@pytest.fixture(params=["shared", "local"])
def fresh_counts(request, settings) -> Iterator[None]:
    """Counts in Valkey, and those of a process while it is away."""
    SharedCounts(settings.CACHE_URL).client.flushdb()
    if request.param == "local":
        settings.CACHE_URL = "unix:///nowhere/valkey.sock"
    rates.counts.cache_clear()
    yield
    rates.counts.cache_clear()


def guess(
    client: Client, password: str, *, name: str = "ann", path: str = "/login/", address: str = "192.0.2.1"
) -> int:
    return client.post(path, {"username": name, "password": password}, REMOTE_ADDR=address).status_code


@pytest.mark.parametrize("path", ["/login/", "/admin/login/"])
def test_after_five_wrong_ones_the_right_one_is_refused_too(ann, client, fresh_counts, evaluated, path: str):
    User.objects.update(is_staff=True)
    evaluated.clear()
    statuses = [guess(client, f"guess {number}", path=path) for number in range(7)]
    assert statuses == [200] * 5 + [429] * 2
    refused = client.post(path, {"username": "ann", "password": PHRASE}, REMOTE_ADDR="192.0.2.1")
    assert refused.status_code == 429 and "Too many attempts to sign in" in refused.text
    assert 0 < int(refused.headers["Retry-After"]) <= 15 * 60 * 1.1
    assert len(evaluated) == 5
    assert guess(client, PHRASE, path=path, address="192.0.2.2") == 302, "nobody can lock her out"


def test_of_a_thousand_tries_at_most_ten_are_evaluated(ann, client, fresh_counts, evaluated):
    evaluated.clear()
    paths, names = ["/login/", "/admin/login/"], ["ann", "ANN", " ann ", "\uff41nn"]  # the last is a wide a
    statuses = {guess(client, str(n), path=paths[n % 2], name=names[n % 4]) for n in range(1000)}
    assert statuses == {200, 429} and len(evaluated) <= 10


def test_who_signs_in_is_not_counted(ann, client, fresh_counts):
    for _ in range(20):
        assert guess(client, PHRASE) == 302
    assert [guess(client, "wrong") for _ in range(4)] == [200] * 4
    assert guess(client, PHRASE) == 302
    assert [guess(client, "wrong") for _ in range(2)] == [200, 429]


def test_what_is_not_evaluated_is_not_counted(ann, fresh_counts, client):
    strict = Client(enforce_csrf_checks=True)
    assert {guess(strict, "wrong") for _ in range(10)} == {403}
    assert {guess(client, "") for _ in range(10)} == {guess(client, "wrong", name="") for _ in range(10)} == {200}
    assert guess(client, PHRASE) == 302


def test_a_name_is_as_long_and_as_strange_as_somebody_likes(ann, client, fresh_counts):
    for name in ("x" * 100_000, "\x00", "a\r\nb", "\ud800".encode("utf-8", "surrogatepass"), "🐕"):
        assert guess(client, "wrong", name=name) == 200


def test_an_unknown_name_takes_as_long_as_a_known_one(ann, client, fresh_counts, evaluated):
    """Django hashes a password for nobody too: one hash each is all that costs time."""
    User.objects.create_user("closed", password=PHRASE, is_active=False)
    for name in ("ann", "nobody", "closed"):
        evaluated.clear()
        assert guess(client, "wrong", name=name) == 200
        assert evaluated == ["wrong"]


def test_an_account_that_was_closed_stays_outside(client: Client, ann):
    User.objects.update(is_active=False)
    assert client.post("/login/", {"username": "ann", "password": PHRASE}).status_code == 200


def test_where_everybody_may_ask_nobody_is_asked_to_sign_in(client: Client, active_version, settings):
    settings.ALLOW_ANONYMOUS_PREDICT = True
    shown = client.get("/").text
    assert "ign in</a> first" not in shown and "Sign out" not in shown and shown.count('href="/login/"') == 1  # hidden
