"""The OpenAPI document: complete, true, and nothing that follows or breaks it finds a server error.

CI sends 81 requests that nobody thought of; SCHEMA_EXAMPLES=2600 makes it more than 5,000, and `-rP` tells how many.
"""

import os
import runpy
from typing import Any

import pytest
import schemathesis
from django.apps import apps
from django.test import Client
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.validation import validate_schema
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode

from classifier import schema, serializers
from classifier.problems import PROBLEMS
from tests.live import Wire

EXAMPLES = int(os.environ.get("SCHEMA_EXAMPLES", "40"))


@pytest.fixture
def document(client: Client, db) -> dict[str, Any]:
    return client.get("/api/schema", headers={"accept": "application/json"}).json()


def test_it_is_an_openapi_document(document):
    validate_schema(document)
    assert document["openapi"].startswith("3.")
    assert {"/api/predictImage", "/api/model", "/api/batches", "/api/batches/{id}/items"} <= set(document["paths"])


def test_it_is_made_without_a_warning(capsys):
    from drf_spectacular.drainage import GENERATOR_STATS

    with GENERATOR_STATS.silence():
        SchemaGenerator().get_schema(request=None, public=True)
        assert not GENERATOR_STATS, "a view is not documented"
    assert not capsys.readouterr().err


def test_every_kind_of_body_is_described(document):
    [operation] = document["paths"]["/api/predictImage"].values()
    assert set(operation["requestBody"]["content"]) == {
        "multipart/form-data",
        "application/json",
        "image/jpeg",
        "image/png",
        "image/webp",
    }
    assert operation["security"] == [{"key": []}, {"session": []}, {}]


def test_every_refusal_is_described_with_its_codes_and_examples(document):
    [operation] = document["paths"]["/api/predictImage"].values()
    described = operation["responses"]
    assert set(described) == {"200", "400", "401", "403", "405", "413", "415", "422", "429", "500", "503"}
    text = " ".join(response["description"] for response in described.values())
    for code in PROBLEMS:
        assert (f"`{code}`" in text) is (code not in schema.ELSEWHERE)
    for status, response in described.items():
        media_type = "application/json" if status == "200" else "application/problem+json"
        assert response["content"].keys() == {media_type}
        assert response["content"][media_type]["examples"]
    assert "Retry-After" in described["429"]["headers"] and "Retry-After" in described["503"]["headers"]


def test_the_limits_are_said(document):
    said = document["info"]["description"]
    for limit in ("10 MB", "50 megapixels", "32 to 16,000", "20 times", "15 MB"):
        assert limit in said


def test_the_size_that_a_field_names_is_the_one_that_is_set(django_settings):
    django_settings.MAX_IMAGE_BYTES = 3 * 1024**2
    made = runpy.run_path(serializers.__file__)["PhotoFormSerializer"]
    assert "at most 3 MB and 50 megapixels" in made().fields["image"].help_text


@pytest.mark.parametrize(
    ("path", "mode"),
    [
        ("/api/predictImage", GenerationMode.POSITIVE),
        ("/api/predictImage", GenerationMode.NEGATIVE),
        ("/api/model", GenerationMode.POSITIVE),  # nothing in it can be wrong
    ],
    ids=["a photo asked for as described", "a photo asked for otherwise", "the model"],
)
@pytest.mark.timeout(7200)
def test_no_request_finds_a_server_error_or_breaks_the_description(
    wire: Wire, active_version, document, django_settings, path: str, mode: GenerationMode
):
    django_settings.PREDICT_RATE = None
    django_settings.PREDICT_WAIT_SECONDS = 60.0  # a machine that stands still for two seconds is no mistake of the API
    config = apps.get_app_config("classifier")
    config.stop()
    config.start()
    described = schemathesis.openapi.from_dict(document)
    method = next(iter(document["paths"][path])).upper()
    strategy = described[path][method].as_strategy(generation_mode=mode)
    asked = 0
    # Bytes that follow the description are still not a photo: a refusal is right.
    excluded = [schemathesis.checks.positive_data_acceptance]

    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(case=strategy)
    def ask(case: schemathesis.Case) -> None:
        nonlocal asked
        asked += 1
        case.call_and_validate(base_url=f"http://127.0.0.1:{wire.port}", excluded_checks=excluded)

    ask()
    print(f"{asked} requests")
    assert asked >= EXAMPLES or path == "/api/model"  # of which there is but one


@pytest.fixture
def django_settings(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue("settings")
