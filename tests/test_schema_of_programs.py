"""What programs are told about versions, datasets, runs and batches is true: nothing that follows or breaks it finds a
server error, or an answer of another shape.

CI sends a few requests to each operation; SCHEMA_EXAMPLES=2600 makes it thousands, and `-rP` tells how many.
"""

import os
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections, transaction
from django.test import Client
from django.urls import get_resolver
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode

from breedsite import jobs
from classifier.models import Batch
from tests.programs import key_of
from tests.squares import make_dataset, make_run
from tests.test_access import routes

EXAMPLES = max(3, int(os.environ.get("SCHEMA_EXAMPLES", "40")) // 10)
TAGS = ("versions", "datasets", "runs", "batches")


@pytest.fixture
def document(client: Client, db) -> dict[str, Any]:
    return client.get("/api/schema").json()


@pytest.fixture
def known(active_version, document, django_settings, tmp_path, monkeypatch) -> dict[str, int]:
    """One of each kind, by the tag of its operations."""
    for name in ("DATASETS_DIR", "RUNS_DIR", "UPLOADS_DIR", "SETS_DIR", "BATCHES_DIR"):
        setattr(django_settings, name, tmp_path / name)
    django_settings.KEY_RATE = django_settings.LOGIN_RATE = None  # wrong keys are tried, too
    django_settings.ALLOWED_HOSTS = ["*"]
    monkeypatch.setattr(jobs.app, "send_task", lambda name, **options: None)
    run = make_run(make_dataset())
    batch = Batch.objects.begin([active_version])
    return {"versions": active_version.pk, "datasets": run.dataset_id, "runs": run.pk, "batches": batch.pk}


@pytest.fixture
def application() -> Iterator[Any]:
    """The site within this thread: as Django's own test client it leaves the test's transaction open."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield get_wsgi_application()
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


def operations(document: dict[str, Any], tag: str) -> Iterator[tuple[str, str]]:
    for path, methods in document["paths"].items():
        yield from ((path, method) for method, operation in methods.items() if operation["tags"] == [tag])


def test_every_address_of_programs_is_described_with_its_errors(document):
    found = {"/" + route for route, _ in routes(get_resolver().url_patterns) if route.startswith("api/")}
    found = {path.replace("<int:pk>", "{id}").replace("<uuid:key>", "{key}") for path in found if path[-1] != "/"}
    assert found - {"/api/schema", "/api/docs"} == set(document["paths"])
    for tag in TAGS:
        for path, method in operations(document, tag):
            described = document["paths"][path][method]["responses"]
            assert described.keys() >= {"401", "403", "405", "429", "500", "503"}, (method, path)
            for status, answer in described.items():
                for media_type, content in answer.get("content", {}).items():
                    shown = media_type in ("application/json", "application/problem+json")
                    assert not shown or content.get("examples"), (method, path, status)


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["as described", "otherwise"])
@pytest.mark.parametrize("tag", TAGS)
@pytest.mark.timeout(7200)
def test_no_request_finds_a_server_error_or_breaks_the_description(
    known, document, application, tag: str, mode: GenerationMode
):
    described = schemathesis.openapi.from_dict(document)
    described.app = application
    key = f"Bearer {key_of()}"
    asked = 0
    # A number of the right kind may name nothing that is there, and bytes that follow the description are no zip.
    excluded = [schemathesis.checks.positive_data_acceptance]

    for path, method in operations(document, tag):
        strategy = described[path][method.upper()].as_strategy(generation_mode=mode)

        @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None)
        @given(case=strategy, there=st.booleans())
        def ask(case: schemathesis.Case, there: bool) -> None:
            nonlocal asked
            asked += 1
            if there and mode is GenerationMode.POSITIVE and "id" in case.path_parameters:
                case.path_parameters["id"] = known[tag]
            with transaction.atomic():
                case.call_and_validate(headers={"Authorization": key}, excluded_checks=excluded)
                transaction.set_rollback(True)

        ask()
    print(f"{asked} requests")


@pytest.fixture
def django_settings(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue("settings")
