"""GET /api/model: which version answers, and what is known of it."""

import pytest
from django.test import Client

from classifier.models import ModelVersion
from classifier.serializers import ModelSerializer


@pytest.mark.parametrize("path", ["/api/model", "/api/model/"])
def test_it_tells_the_version_its_labels_and_its_quality(client: Client, active_version: ModelVersion, path: str):
    response = client.get(path)
    body = response.json()
    assert response.status_code == 200 and list(body) == list(ModelSerializer().fields)
    assert body["version"] == {"name": "tiny", "number": 1, "digest": active_version.digest}
    assert body["labels"] == ["beagle", "border_collie", "chow", "papillon", "pug"]
    assert body["preprocessing"].keys() >= {"resize", "crop", "mean", "std"}
    assert body["calibration"].keys() >= {"temperature", "unsure_below", "n"}
    top1 = body["quality"]["top1"]
    assert top1["low"] <= top1["value"] <= top1["high"] and body["quality"]["n"] > 0
    assert body["origin"].keys() >= {"data", "intended_use", "not_for", "license"}
    assert "golden" not in body and "files" not in body


def test_it_needs_no_database(client: Client, active_version, django_assert_num_queries):
    with django_assert_num_queries(0):
        client.get("/api/model")


def test_its_labels_are_in_the_order_of_the_results(client: Client, active_version, picture):
    labels = client.get("/api/model").json()["labels"]
    answer = client.post("/api/predictImage", picture, content_type="image/jpeg").json()
    assert labels[answer["prediction"]] == answer["label"]


def test_without_a_version_it_says_so(client: Client, db, versions_dir):
    response = client.get("/api/model")
    assert (response.status_code, response.json()["code"]) == (503, "no_active_model")
    assert 3 <= int(response.headers["Retry-After"]) <= 7


def test_it_is_read_only(client: Client, active_version):
    response = client.post("/api/model")
    assert (response.status_code, response.json()["code"]) == (405, "method_not_allowed")
    assert response.headers["Allow"] == "GET, HEAD, OPTIONS"
