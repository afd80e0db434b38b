"""What people or disks did to files and rows is said beside what it concerns, and hinders nothing else."""

import html
import itertools
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from django.db.models import JSONField, Value
from django.urls import reverse
from django.utils import timezone

from breedsite import jobs, reconciling
from breedsite.models import Worker
from classifier.models import ModelVersion
from classifier.tasks import sweep
from tests.squares import make_dataset, make_run
from trainer.models import Dataset, EpochMetric, TrainingRun
from trainer.models.leftovers import sweep as sweep_imports
from trainer.recipe import Recipe

pytestmark = pytest.mark.django_db
Status = TrainingRun.Status


@pytest.fixture(autouse=True)
def folders(settings, tmp_path, monkeypatch) -> None:
    for name in ("DATASETS_DIR", "RUNS_DIR", "VERSIONS_DIR", "UPLOADS_DIR"):
        setattr(settings, name, tmp_path / name)
    monkeypatch.setattr(jobs.app, "send_task", lambda name, **options: None)


@pytest.fixture
def run(artifact_folder) -> TrainingRun:
    """One that has finished, with two epochs, a log, a checkpoint and a version."""
    make_run()
    run = TrainingRun.objects.claim_next(device="cpu")
    assert run is not None
    for number in (1, 2):
        run.epochs.create(
            number=number, loss=1.0, accuracy=0.5, validation_loss=1.0 / number, validation_top1=0.5, seconds=1.0,
            learning_rate=0.1, images_per_second=20.0, trail=[[1, 0.1, 1.0]],
        )  # fmt: skip
    (run.folder / "attempt-1").mkdir(parents=True)
    (run.folder / "log.txt").write_text("a line\n")
    run.finish(Status.FINISHED, version=ModelVersion.objects.install(artifact_folder))
    return run


def row(**changes: object) -> Callable[[TrainingRun], object]:
    return lambda run: TrainingRun.objects.filter(pk=run.pk).update(**changes)


def log_is_a_folder(run: TrainingRun) -> None:
    (run.folder / "log.txt").unlink()
    (run.folder / "log.txt").mkdir()


def photos(run: TrainingRun) -> Path:
    return run.dataset.path


DAMAGES: dict[str, tuple[Callable[[TrainingRun], object], str]] = {  # what was done, and what is said of the run
    "its folder is gone": (lambda run: shutil.rmtree(run.folder), "its folder is missing"),
    "its log is empty": (lambda run: (run.folder / "log.txt").write_text(""), ""),
    "its log is no file": (log_is_a_folder, ""),
    "its recipe is empty": (row(recipe={}), ""),
    "its recipe is another kind of JSON": (row(recipe=["epochs", 3]), "its recipe cannot be read"),
    "a field of its recipe is wrong": (row(recipe={"epochs": "many"}), "its recipe cannot be read"),
    "what it tells is no object": (row(live=[1], status=Status.PAUSED, finished_at=None), ""),
    "an epoch is without its steps": (lambda run: EpochMetric.objects.update(trail={}, loss=None), ""),
    "the version's folder is gone": (lambda run: shutil.rmtree(run.version.path), "its version's folder is missing"),
    "the version's row is broken": (lambda run: ModelVersion.objects.update(spec={}), "its version cannot be read"),
    "the photos are gone": (lambda run: shutil.rmtree(photos(run)), "the photos of its dataset are missing"),
    "one photo is gone": (lambda run: next(photos(run).rglob("*.png")).unlink(), ""),
    "the dataset's labels are no list": (lambda run: Dataset.objects.update(labels=5), ""),
    "the dataset's report is broken": (lambda run: Dataset.objects.update(report={"labels": 3}, counts=[]), ""),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_whatever_is_damaged_is_said_and_everything_else_is_shown(admin_client, run, name: str):
    other = make_run(make_dataset("others"))
    do, sentence = DAMAGES[name]
    do(run)
    admin_client.raise_request_exception = False
    address = {kind: reverse(f"admin:{kind}_changelist") for kind in ("trainer_trainingrun", "trainer_dataset")}
    address["classifier_modelversion"] = reverse("admin:classifier_modelversion_changelist")
    pages = [*address.values(), "/admin/", f"{address['trainer_trainingrun']}compare/?runs={run.pk},{other.pk}"]
    pages += [f"{address['trainer_trainingrun']}{run.pk}/{one}" for one in ("change/", "state/", "epochs.csv")]
    pages += [f"{address['trainer_trainingrun']}{run.pk}/run.json", "/", "/api/model"]
    pages += [f"{address['trainer_dataset']}{run.dataset.pk}/{one}" for one in ("change/", "photos/", "progress/")]
    pages += [f"{address['classifier_modelversion']}{run.version.pk}/change/"]
    pages += [reverse("admin:trainer_dataset_thumbnail", args=[run.dataset.pk, run.dataset.photos.first().pk])]
    pages += [f"/api/{kind}" for kind in ("runs", "datasets", "versions")] + [f"/api/versions/{run.version.pk}"]
    pages += [f"/api/runs/{run.pk}", f"/api/runs/{run.pk}/epochs.csv", f"/api/versions/{run.version.pk}/export"]
    pages += [f"/api/datasets/{run.dataset.pk}{one}" for one in ("", "/report", "/photos")]
    statuses = {page: admin_client.get(page).status_code for page in pages}
    assert {page: status for page, status in statuses.items() if status >= 500 and page != "/api/model"} == {}
    listed = html.unescape(admin_client.get(address["trainer_trainingrun"]).content.decode())
    shown = html.unescape(admin_client.get(f"{address['trainer_trainingrun']}{run.pk}/change/").content.decode())
    assert f"run {other.pk} (squares)" in listed and f"run {run.pk} (squares)" in listed
    assert (f"damaged: {sentence}" in listed and sentence in shown) if sentence else "damaged" not in listed
    reconciling.reconcile()


def test_fifty_restarts_change_no_end(run, settings):
    """Everything that a start, a stop and a look of the reconciler do to rows, in every state a run can have."""
    settings.VERSIONS_DIR.mkdir(exist_ok=True)
    dataset = run.dataset
    ends = (Status.FINISHED, Status.FAILED, Status.STOPPED)
    long_ago = timezone.now() - timedelta(hours=2)
    rows = {status: make_run(dataset) for status in Status if status not in ends}
    for status, one in rows.items():
        held = {"device": "cpu", "heartbeat_at": long_ago, "token": None}
        TrainingRun.objects.filter(pk=one.pk).update(
            status=status, **(held | {"device": f"cpu {status}"} if status in TrainingRun.HELD else {})
        )
    ended = {end: make_run(dataset) for end in ends}
    for end, one in ended.items():
        TrainingRun.objects.filter(pk=one.pk).update(status=end, failure=f"It is {end}.", finished_at=long_ago)
    fields = ("pk", "status", "failure", "finished_at", "version", "attempt", "deaths")
    before = list(TrainingRun.objects.filter(pk__in=[one.pk for one in (run, *ended.values())]).values(*fields))
    for _ in itertools.repeat(None, 50):
        Worker.objects.beat()
        sweep()
        sweep_imports(Dataset.objects.all())
        reconciling.reconcile()
        Worker.objects.leave()
    assert before == list(TrainingRun.objects.filter(pk__in=[one["pk"] for one in before]).values(*fields))
    assert TrainingRun.objects.filter(pk__in=[one.pk for one in rows.values()]).exclude(status__in=Status).count() == 0
    run.refresh_from_db()
    assert (run.folder / "log.txt").exists() and run.version.path.is_dir()


@pytest.mark.parametrize("recipe", [["epochs", 3], {"epochs": "many"}, {"dropped_since": 1}])
def test_no_run_is_started_from_a_recipe_that_cannot_be_read(admin_client, run, recipe):
    TrainingRun.objects.update(recipe=recipe, found={"changes": {"learning_rate": 0.1}})
    address = reverse("admin:trainer_trainingrun_change", args=[run.pk]).removesuffix("change/")
    assert admin_client.get(f"{address}state/").json()["verbs"] == ["adjust"]
    for verb in ("clone", "continue", "train"):
        told = admin_client.post(f"{address}do/{verb}/", follow=True)
        assert "has a recipe that cannot be read" in told.content.decode()
    form = admin_client.post(f"{address}do/adjust/", follow=True).context["form"]
    assert form.fields.keys() >= {"parent", "epochs"}
    wanted = Recipe().as_dict() | {"preset": "transfer", "dataset": run.dataset.pk, "parent": run.pk}
    refused = admin_client.post(reverse("admin:trainer_trainingrun_add"), wanted)
    assert "whose recipe cannot be read" in refused.content.decode()
    assert TrainingRun.objects.count() == 1


@pytest.mark.parametrize("found", [[1, 2], "much", None, {"changes": [0.1], "points": []}])
def test_what_a_range_test_found_may_be_damaged(admin_client, run, found):
    TrainingRun.objects.update(found=Value(found, JSONField()), kind=TrainingRun.Kind.RANGE_TEST)
    address = reverse("admin:trainer_trainingrun_change", args=[run.pk]).removesuffix("change/")
    pages = [reverse("admin:trainer_trainingrun_changelist"), f"{address}change/", f"{address}state/"]
    pages += [f"{address}epochs.csv", f"{address}run.json"]
    assert {admin_client.get(page).status_code for page in pages} == {200}
    assert admin_client.post(f"{address}do/train/").status_code == 302
    assert TrainingRun.objects.count() == 1
