"""/readyz: what decides, what is only told, and that it tells no secrets. /healthz is the gate's."""

import itertools
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.test import Client

from breedsite import health
from breedsite.models import Worker

COMBINATIONS = list(itertools.product([False, True], repeat=3))
NOWHERE = "unix:///nowhere/valkey.sock"


@pytest.fixture(autouse=True)
def fresh_look() -> Iterator[None]:
    health.look.forget()
    yield
    health.look.forget()


def refuse(*_: object) -> None:
    raise OperationalError("could not connect to postgres://me:s3cret@host")


def down(monkeypatch: pytest.MonkeyPatch, settings: Any, *, database: bool, cache: bool, broker: bool) -> None:
    if database:
        monkeypatch.setattr(connection, "cursor", refuse)
    if cache:
        settings.CACHES = {"default": {**settings.CACHES["default"], "LOCATION": NOWHERE}}
    if broker:
        settings.BROKER_URL = "redis+socket:///nowhere/valkey.sock"


@pytest.mark.parametrize(("database", "cache", "broker"), COMBINATIONS)
def test_only_the_database_decides(client: Client, active_version, monkeypatch, settings, database, cache, broker):
    with monkeypatch.context() as patch:  # undone before the test's own transaction is rolled back
        down(patch, settings, database=database, cache=cache, broker=broker)
        response = client.get("/readyz")
    assert response.status_code == (503 if database else 200)
    assert response.json() == {
        "ready": not database,
        "database": "unreachable" if database else "ok",
        "migrations": "unknown" if database else "ok",
        "worker": "unknown" if database else "none alive",
        "model": "ok",
        "device": "cpu",
        "cache": "unreachable" if cache else "ok",
        "broker": "unreachable" if broker else "ok",
    }
    assert b"s3cret" not in response.content and b"nowhere" not in response.content


@pytest.mark.parametrize(("database", "cache", "broker"), COMBINATIONS)
def test_predictions_need_none_of_them(
    client: Client, active_version, picture, monkeypatch, settings, database, cache, broker
):
    with monkeypatch.context() as patch:
        down(patch, settings, database=database, cache=cache, broker=broker)
        assert client.post("/api/predictImage", picture, content_type="image/jpeg").status_code == 200


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/"), ("POST", "/"), ("POST", "/api/predictImage"), ("GET", "/admin/")]
)
def test_who_is_signed_in_hears_that_the_database_is_away(
    admin_client: Client, active_version, picture, monkeypatch, method, path
):
    admin_client.raise_request_exception = False
    with monkeypatch.context() as patch:
        patch.setattr(connection, "cursor", refuse)
        response = admin_client.generic(method, path, picture, content_type="image/jpeg")
    assert response.status_code == 503 and 3 <= int(response.headers["Retry-After"]) <= 7
    assert b"The database cannot be used just now" in response.content and b"s3cret" not in response.content
    if path.startswith("/api"):
        assert response.headers["Content-Type"] == "application/problem+json"
        assert response.json()["code"] == "database_unavailable"


def test_without_a_version_it_is_not_ready(client: Client, db, versions_dir):
    response = client.get("/readyz")
    assert (response.status_code, response.json()["model"]) == (503, "none active")


def test_a_network_that_answers_otherwise_than_it_did_is_not_ready(client: Client, active_version, monkeypatch):
    from django.apps import apps

    resident = apps.get_app_config("classifier").predictor.current
    monkeypatch.setattr(type(resident.engine), "__call__", lambda self, images: images.reshape(len(images), -1)[:, :5])
    response = client.get("/readyz")
    assert (response.status_code, response.json()["model"]) == (503, "wrong answers")


def test_tables_that_are_missing_are_not_ready(client: Client, active_version, monkeypatch):
    monkeypatch.setattr("breedsite.health.MigrationExecutor.migration_plan", lambda self, targets: [("one", False)])
    response = client.get("/readyz")
    assert (response.status_code, response.json()["migrations"]) == (503, "pending")


def test_it_looks_once_in_a_while_however_often_it_is_asked(client: Client, active_version, django_assert_num_queries):
    client.get("/readyz")
    with django_assert_num_queries(0):
        for _ in range(50):
            assert client.get("/readyz").status_code == 200


def test_it_may_be_read_only(client: Client):
    assert client.post("/readyz").status_code == 405


def test_a_worker_is_told_and_does_not_decide(client: Client, active_version):
    assert client.get("/readyz").json()["worker"] == "none alive"
    Worker.objects.beat()
    health.look.forget()
    assert client.get("/readyz").json()["worker"] == "ok"


def test_a_database_that_does_not_answer_is_asked_once_in_a_look(client: Client, active_version, monkeypatch):
    asked = []

    def away() -> None:
        asked.append(1)
        refuse()

    with monkeypatch.context() as patch:
        patch.setattr(connection, "cursor", away)
        assert client.get("/readyz").status_code == 503
    assert len(asked) == 1


def test_while_one_asks_the_others_hear_what_was_known():
    answers = iter(["known", "new"])
    begun, go_on = threading.Event(), threading.Event()

    def ask() -> str:
        answer = next(answers)
        if answer == "new":
            begun.set()
            assert go_on.wait(10)
        return answer

    recent = health.Recent(ask, 0.0)
    assert recent() == "known"
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(recent)
        assert begun.wait(10)
        assert [recent() for _ in range(50)] == ["known"] * 50
        go_on.set()
        assert asked.result(10) == "new"


def test_the_first_answer_is_waited_for_and_asked_once():
    asked = []

    def ask() -> str:
        asked.append(1)
        time.sleep(0.1)
        return "first"

    recent = health.Recent(ask, 60.0)
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: recent(), range(8))) == {"first"}
    assert len(asked) == 1
