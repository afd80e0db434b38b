"""The figures on a version's page: label by label, what is taken for what, how honest it is; as CSV and JSON too."""

import csv
import io
import re
from dataclasses import replace

import numpy as np
import pytest
from django.urls import reverse

from classifier import evaluation, evidence
from classifier.models import ModelVersion
from classifier.quality import Band, Quality, rate
from tests.artifacts import make_artifact
from trainer.evaluate import quality

pytestmark = pytest.mark.django_db
LABELS = ("beagle", "border_collie", "chow")


def measured() -> Quality:
    """Ten photos a label: two border collies and one chow are taken for beagles, one beagle for a chow."""
    return Quality(
        split="test",
        n=30,
        top1=rate(26, 30),
        top5=rate(30, 30),
        loss=0.5,
        per_label={"beagle": rate(9, 10), "border_collie": rate(8, 10), "chow": rate(9, 10)},
        confusion={"beagle": {"chow": 1}, "border_collie": {"beagle": 2}, "chow": {"beagle": 1}},
        bands=(Band(24, 20, 0.81), Band(6, 6, 0.99)),
    )


@pytest.fixture
def version(versions_dir, tmp_path) -> ModelVersion:
    return ModelVersion.objects.install(make_artifact(tmp_path / "a", labels=LABELS, quality=measured()))


def page(client, version: ModelVersion) -> str:
    return client.get(reverse("admin:classifier_modelversion_change", args=[version.pk])).text


def figures(version: ModelVersion, table: str) -> str:
    return reverse("admin:classifier_modelversion_figures", args=[version.pk, table])


def test_the_most_frequent_mistake_comes_first():
    first, *others = evaluation.pairs(measured())
    assert (first.label, first.answered, first.share) == ("border_collie", "beagle", rate(2, 10))
    assert [(pair.label, pair.answered) for pair in others] == [("beagle", "chow"), ("chow", "beagle")]


def test_a_label_is_found_and_believed():
    row = next(row for row in evaluation.label_rows(measured()) if row.label == "beagle")
    assert row.recall == rate(9, 10) and row.precision == rate(9, 12) and row.mistaken == ("chow", 1)


def test_the_page_says_what_it_takes_for_what(admin_client, version):
    text = re.sub(r"<[^>]+>", "", page(admin_client, version))
    assert "Border Collie taken for Beagle 2 of 10, 20.0 % (5.7 to 51.0)" in text
    assert "4 of 30 test photos were answered wrongly" in text
    assert "When it says 81 %, it is right 83 % of the time (24 such answers, 95 % interval 64.1 to 93.3)" in text
    assert text.index("Border Collie taken for") < text.index("Chow taken for")


def test_few_labels_have_a_grid_and_many_have_none(admin_client, version, versions_dir, tmp_path):
    text = page(admin_client, version)
    assert '<td class="h8 right">9</td>' in text and '<td class="h2">2</td>' in text
    labels = [f"label {number:02}" for number in range(evaluation.GRID + 1)]
    logits = np.random.default_rng(0).normal(size=(200, len(labels))).astype(np.float32)
    found = quality(logits, np.arange(200) % len(labels), labels, split="test")
    many = ModelVersion.objects.install(make_artifact(tmp_path / "many", labels=labels, quality=found))
    text = page(admin_client, many)
    assert 'class="grid"' not in text and text.count("<li><span>") == evaluation.LISTED
    assert "more are in the" in text


def test_a_figure_leads_to_its_photos_where_somebody_has_them(admin_client, version, monkeypatch):
    assert "/somewhere/" not in page(admin_client, version)
    monkeypatch.setattr(evidence, "sources", [lambda digest: None, lambda digest: f"/somewhere/?version={digest[:4]}"])
    text = page(admin_client, version)
    base = f"/somewhere/?version={version.digest[:4]}"
    assert text.count(f'href="{base}&amp;label=border_collie&amp;answer=beagle"') == 3  # pair, grid, label
    assert f'href="{base}"' in text


def test_a_version_without_counted_mistakes_shows_what_it_has(admin_client, versions_dir, tmp_path):
    old = replace(measured(), confusion=None, bands=None)
    version = ModelVersion.objects.install(make_artifact(tmp_path / "old", labels=LABELS, quality=old))
    text = page(admin_client, version)
    assert "Label by label" in text and "80.0 %" in text
    assert "What it takes for what" not in text and "How honest" not in text and "believed" not in text
    assert admin_client.get(figures(version, "labels")).status_code == 200


def test_the_tables_come_as_csv(admin_client, version):
    answer = admin_client.get(figures(version, "labels"))
    assert answer.headers["Content-Disposition"] == 'attachment; filename="tiny-1-labels.csv"'
    rows = {row["label"]: row for row in csv.DictReader(io.StringIO(answer.text))}
    assert rows["beagle"]["recall"] == "0.9" and rows["beagle"]["precision"] == "0.75"
    assert float(rows["beagle"]["precision_low"]) == pytest.approx(rate(9, 12).low, abs=1e-6)
    pairs = list(csv.DictReader(io.StringIO(admin_client.get(figures(version, "pairs")).text)))
    assert [pairs[0][name] for name in ("label", "answered", "photos", "of")] == ["border_collie", "beagle", "2", "10"]


def test_all_of_it_comes_as_json(admin_client, version):
    document = admin_client.get(figures(version, "all")).json()
    assert document["version"] == "tiny:1" and document["quality"] == measured().as_dict()


def test_a_label_that_looks_like_a_formula_is_text_in_a_spreadsheet(admin_client, versions_dir, tmp_path):
    labels = ("=1+1", "@x", "b")
    found = replace(
        measured(),
        per_label={"=1+1": rate(9, 10), "@x": rate(8, 10), "b": rate(9, 10)},
        confusion={"=1+1": {"b": 1}, "@x": {"=1+1": 2}, "b": {"=1+1": 1}},
    )
    version = ModelVersion.objects.install(make_artifact(tmp_path / "formula", labels=labels, quality=found))
    for table in ("labels", "pairs"):
        rows = list(csv.reader(io.StringIO(admin_client.get(figures(version, table)).text)))
        assert {row[0] for row in rows[1:]} == {"'=1+1", "'@x", "b"}


@pytest.mark.parametrize("table", ["nothing", "all-of-it"])
def test_a_table_that_there_is_not_is_not_found(admin_client, version, table):
    assert admin_client.get(figures(version, table)).status_code == 404


def test_a_version_that_was_not_measured_has_no_tables(admin_client, versions_dir, tmp_path):
    version = ModelVersion.objects.install(make_artifact(tmp_path / "raw", quality=None))
    assert admin_client.get(figures(version, "labels")).status_code == 404


def test_a_damaged_version_has_a_sentence_and_no_tables(admin_client, version):
    ModelVersion.objects.update(spec={})
    response = admin_client.get(figures(version, "all"))
    assert response.status_code == 404 and "cannot be read" in response.text


def test_only_those_who_may_see_versions_get_the_tables(client, version, django_user_model):
    client.force_login(django_user_model.objects.create_user("staff", is_staff=True))
    assert client.get(figures(version, "labels")).status_code == 403
