"""The photos of a dataset as a run's version answered them: likely wrong labels first, test photos only shown."""

import re

import numpy as np
import pytest
from django.urls import reverse

from classifier import evidence
from classifier.models import ModelVersion
from tests.pages import link
from tests.squares import make_dataset, make_run
from trainer import answers
from trainer.admin.photos import PAGE
from trainer.models import Dataset, TrainingRun

pytestmark = pytest.mark.django_db


@pytest.fixture
def run(settings, tmp_path, active_version: ModelVersion) -> TrainingRun:
    """Its version says "pug" to everything, and the surer the later the photo was imported."""
    settings.DATASETS_DIR, settings.RUNS_DIR = tmp_path / "datasets", tmp_path / "runs"
    run = make_run(make_dataset(count=30))
    write(run)
    TrainingRun.objects.filter(pk=run.pk).update(version=active_version, status="finished")
    run.refresh_from_db()
    return run


def write(run: TrainingRun) -> None:
    rows = []
    for part in answers.PARTS:
        photos = list(run.dataset.photos.filter(part=part).order_by("pk"))
        sure = np.linspace(0.4, 0.99, len(photos))
        probabilities = np.stack([(1 - sure) / 2, sure, (1 - sure) / 2], axis=1)
        labels = np.array([run.dataset.labels.index(photo.label) for photo in photos])
        rows.append(answers.rows(probabilities, labels, [photo.pk for photo in photos], part=part))
    run.folder.mkdir(parents=True)
    answers.write(run.answers, answers.in_order(rows))


def get(client, dataset: Dataset, query: str = "") -> str:
    return client.get(reverse("admin:trainer_dataset_photos", args=[dataset.pk]) + query).text


def shown(text: str) -> list[str]:
    return re.findall(r'alt="([a-z]+/\d+\.png)"', text)


def test_the_least_believed_label_comes_first_and_no_test_photo(admin_client, run):
    text = get(admin_client, run.dataset, f"?run={run.pk}")
    names = shown(text)
    second = get(admin_client, run.dataset, link(text, "next"))
    names += shown(second)
    assert names[0] == "samoyed/29.png"  # answered pug, the surest of those that are none
    assert len(names) == 87 == len(set(names)) and len(shown(text)) == PAGE
    assert all(name.startswith("pug/") for name in names[-20:])
    assert not {f"{label}/1.png" for label in run.dataset.labels} & set(names), "the test photos"
    back = get(admin_client, run.dataset, link(second, "prev"))
    assert shown(back) == shown(text) and link(back, "prev") == ""
    assert "answered <b>pug</b>, 99.0\u00a0%; samoyed 0.5\u00a0%" in text
    assert 'data-answer="pug"' in text and "has never trained on" in text


def test_the_filters_hold_in_this_order_too(admin_client, run):
    run.dataset.photos.filter(name__in=["chow/3.png", "chow/9.png"]).update(flag="near")
    text = get(admin_client, run.dataset, f"?run={run.pk}&label=chow&part=train")
    assert len(shown(text)) == 28 and all(name.startswith("chow/") for name in shown(text))
    assert shown(get(admin_client, run.dataset, f"?run={run.pk}&flag=near")) == ["chow/9.png", "chow/3.png"]
    assert shown(get(admin_client, run.dataset, f"?run={run.pk}&answer=chow")) == []
    assert shown(get(admin_client, run.dataset, f"?run={run.pk}&label=nothing")) == []


def test_test_photos_are_shown_and_not_edited(admin_client, run):
    text = get(admin_client, run.dataset, f"?run={run.pk}&part=test&label=chow&answer=pug")
    assert shown(text) == ["chow/1.png"]
    assert "shown, not edited" in text and "changes-save" not in text and 'class="pick"' not in text
    assert "changes-save" in get(admin_client, run.dataset, f"?run={run.pk}")


def test_answers_that_are_gone_or_damaged_are_said(admin_client, run):
    run.answers.write_bytes(b"damaged")
    assert "answers.npy cannot be read" in get(admin_client, run.dataset, f"?run={run.pk}")
    run.answers.unlink()
    assert f"What run {run.pk} answered to these photos is not known" in get(
        admin_client, run.dataset, f"?run={run.pk}"
    )
    assert len(shown(get(admin_client, run.dataset))) == PAGE


def test_another_datasets_run_orders_nothing(admin_client, run):
    other = make_dataset("others")
    assert "is not known" in get(admin_client, other, f"?run={run.pk}")


@pytest.mark.parametrize("query", ["run=x", "run=-1", "run=9999999999999999999999", "run=%00"])
def test_strange_runs_are_answered(admin_client, run, query):
    assert (
        admin_client.get(reverse("admin:trainer_dataset_photos", args=[run.dataset.pk]) + f"?{query}").status_code
        == 200
    )


def test_a_version_leads_to_its_test_photos(admin_client, run, active_version):
    address = evidence.photos_of(active_version.digest)
    assert address is not None and f"?run={run.pk}&part=test" in address
    assert len(shown(admin_client.get(address).text)) == 3
    change = admin_client.get(reverse("admin:classifier_modelversion_change", args=[active_version.pk])).text
    assert address.replace("&", "&amp;") in change
    run.answers.unlink()
    assert evidence.photos_of(active_version.digest) is None


def test_the_page_of_a_dataset_leads_to_its_suspects(admin_client, run):
    address = reverse("admin:trainer_dataset_change", args=[run.dataset.pk])
    assert f"?run={run.pk}" in admin_client.get(address).text
    run.answers.unlink()
    assert f"?run={run.pk}" not in admin_client.get(address).text


def test_a_page_of_100_000_answers_costs_one_query_for_its_photos(admin_client, run, django_assert_max_num_queries):
    found = np.zeros(100_000, answers.ROW)
    found["photo"] = np.resize(list(run.dataset.photos.values_list("pk", flat=True)), 100_000)
    found["margin"] = np.linspace(-1, 1, 100_000)
    answers.write(run.answers, found)
    for query in ("", "&label=chow", "&after=99900", "&before=99900", "&part=train&answer=chow"):
        with django_assert_max_num_queries(7) as queries:
            get(admin_client, run.dataset, f"?run={run.pk}{query}")
        assert sum('FROM "trainer_photo"' in one["sql"] and "COUNT" not in one["sql"] for one in queries) == 1
