"""What hosts with a DATA_DIR each do through the storage that they share: one after the other within this process."""

import io
import itertools
import os
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from django.apps import apps
from django.core.management import CommandError, call_command
from django.urls import reverse
from django.utils import timezone

from breedsite.storage import Piece, StorageAway, Store
from classifier.artifact import ArtifactError
from classifier.models import ModelVersion
from classifier.models.keeping import make_room
from classifier.uploads import Upload, WrongPlace
from tests.archives import photos, write_zip
from tests.artifacts import make_artifact
from tests.buckets import share
from tests.photos import write_photos
from tests.squares import make_run
from trainer.admin import suspects
from trainer.admin.run_figures import last_lines
from trainer.models import Dataset, TrainingRun
from trainer.models.carrying import at_hand, bring_checkpoint
from trainer.models.epoch import EpochMetric
from trainer.models.importing import cancel, perform
from trainer.models.sharing import append, bring_photos, finish, received, tidy_datasets
from trainer.models.supervising import claim, supervise

pytestmark = pytest.mark.django_db(transaction=True)
become = Callable[[str], None]


@pytest.fixture
def site(shared: Store, hosts: become) -> become:
    """A storage of either kind; this process is host a, and becomes another by site("b")."""
    return hosts


@pytest.fixture
def on_folder(settings, folder: str, hosts: become) -> become:
    """The same with a folder, where the kind of storage makes no difference."""
    share(settings, folder)
    return hosts


@pytest.fixture
def lose(tmp_path: Path) -> Callable[[], None]:
    """The folder is no longer mounted."""
    return lambda: (tmp_path / "mnt" / ".breedsite").unlink()


def imported(tmp_path: Path, name: str = "squares") -> Dataset:
    source = tmp_path / "source"
    if not source.exists():
        write_photos(source, labels=("chow", "pug", "samoyed"), count=12)
    dataset = Dataset.objects.begin(name, source, source_kind="server", source_name="source")
    perform(dataset)
    dataset.refresh_from_db()
    assert dataset.status == Dataset.Status.READY, dataset.failure
    return dataset


def names(shared: Store, prefix: str = "") -> list[str]:
    return sorted(entry.name for entry in shared.entries(prefix))


# --- versions ---------------------------------------------------------------------------------------------------------
def test_a_version_that_one_host_installs_is_activated_and_answers_at_another(site, artifact_folder, picture):
    version = ModelVersion.objects.install(artifact_folder)
    site("b")
    assert not version.path.exists()
    version.activate()
    site("c")
    classifier = apps.get_app_config("classifier")
    classifier.start()
    assert classifier.predictor.predict(picture).identity.digest == version.digest
    assert sorted(file.name for file in version.path.iterdir()) == ["model.onnx", "spec.json", "weights.safetensors"]


def test_a_version_is_put_there_once(shared, hosts, artifact_folder, monkeypatch):
    ModelVersion.objects.install(artifact_folder)
    monkeypatch.setattr(shared.backend, "put", None)
    hosts("b")
    ModelVersion.objects.install(artifact_folder)
    assert len(names(shared, "versions/")) == 3


def test_without_the_storage_no_row_is_made(on_folder, lose, artifact_folder):
    lose()
    with pytest.raises(StorageAway):
        ModelVersion.objects.install(artifact_folder)
    assert not ModelVersion.objects.exists()
    with pytest.raises(CommandError, match="storage cannot be used"):
        call_command("importversion", artifact_folder)


def test_a_damaged_version_is_told_in_a_sentence_and_the_other_one_answers(
    shared, hosts, active_version, artifact_folder, admin_client, tmp_path
):
    """The folder of another version is damaged in the storage."""
    other = ModelVersion.objects.install(make_artifact(tmp_path / "other", seed=7))
    [weights] = [name for name in names(shared, f"versions/{other.folder}/") if "weights" in name]
    shared.backend.put(weights, io.BytesIO(b"no weights"))
    hosts("b")
    with pytest.raises(ArtifactError, match=r"weights\.safetensors is damaged in the storage"):
        other.activate()
    assert "damaged in the storage" in ModelVersion.objects.get(pk=other.pk).failure
    assert not other.path.exists() and ModelVersion.objects.active() == active_version
    page = admin_client.post(reverse("admin:classifier_modelversion_activate", args=[other.pk]), follow=True)
    assert "damaged in the storage" in page.content.decode()


def test_predictions_go_on_while_the_storage_is_away(on_folder, lose, artifact_folder, client, picture, admin_client):
    version = ModelVersion.objects.install(artifact_folder)
    version.activate()
    apps.get_app_config("classifier").start()
    lose()
    apps.get_app_config("classifier").start().step()
    assert client.post("/api/predictImage", picture, content_type="image/jpeg").status_code == 200
    on_folder("b")
    admin_client.raise_request_exception = False
    answer = admin_client.post(reverse("admin:classifier_modelversion_activate", args=[version.pk]))
    assert answer.status_code == 503 and "storage of files cannot be used" in answer.content.decode()
    assert answer.headers["Retry-After"]


def test_the_version_that_answers_stays_however_full_it_is(on_folder, settings, artifact_folder, tmp_path):
    active = ModelVersion.objects.install(artifact_folder)
    other = ModelVersion.objects.install(make_artifact(tmp_path / "other", seed=7))
    on_folder("b")
    settings.STORAGE_CACHE_BYTES = 1
    active.activate()
    other.bring()
    assert active.path.is_dir() and other.path.is_dir()  # somebody is about to read it
    make_room()
    assert active.path.is_dir() and not other.path.is_dir()
    other.activate()
    make_room()
    assert other.path.is_dir() and not active.path.is_dir()


# --- photos -----------------------------------------------------------------------------------------------------------
def test_photos_that_one_host_imports_are_whole_at_another(site, tmp_path):
    dataset = imported(tmp_path)
    site("b")
    bring_photos(dataset)
    assert sum(len(list(dataset.records(part))) for part in ("train", "validation", "test")) == 36
    assert all(record.read() for record in dataset.records("train"))
    files = [file for file in dataset.path.rglob("*") if file.is_file()]
    assert len(files) == 36 and not [file for file in files if file.name == "unpublished"]
    files[0].write_bytes(b"half")
    bring_photos(dataset)
    assert files[0].stat().st_size > 100


def test_a_thumbnail_fetches_one_photo(site, tmp_path, admin_client):
    dataset = imported(tmp_path)
    site("b")
    photo = dataset.photos.first()
    answer = admin_client.get(reverse("admin:trainer_dataset_thumbnail", args=[dataset.pk, photo.pk]))
    assert answer.status_code == 200 and answer.headers["Content-Type"] == "image/jpeg"
    assert [file.name for file in dataset.path.rglob("*.png")] == [photo.file(dataset.path).name]


def test_a_thumbnail_of_a_photo_that_is_damaged_there_is_not_found(shared, hosts, tmp_path, admin_client):
    dataset = imported(tmp_path)
    photo = dataset.photos.first()
    [name] = [name for name in names(shared) if photo.sha256 in name]
    shared.backend.put(name, io.BytesIO(b"no photo"))
    hosts("b")
    answer = admin_client.get(reverse("admin:trainer_dataset_thumbnail", args=[dataset.pk, photo.pk]))
    assert answer.status_code == 404 and "is gone" in answer.content.decode()


def test_a_thumbnail_waits_for_the_storage(on_folder, lose, tmp_path, admin_client):
    dataset = imported(tmp_path)
    lose()
    on_folder("b")
    address = reverse("admin:trainer_dataset_thumbnail", args=[dataset.pk, dataset.photos.first().pk])
    admin_client.raise_request_exception = False
    answer = admin_client.get(address, headers={"Accept": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (503, "storage_unavailable")


def test_the_next_version_of_a_dataset_is_made_at_a_host_that_lacks_the_photos(site, tmp_path):
    dataset = imported(tmp_path)
    photo = dataset.photos.order_by("pk").first()
    site("b")
    dataset.edit({photo.pk: {"label": "pug"}})
    claimed = Dataset.objects.claim_next()
    perform(claimed)
    claimed.refresh_from_db()
    assert claimed.status == Dataset.Status.READY
    site("c")
    bring_photos(claimed)
    assert len(list(claimed.path.rglob("*.png"))) == 36


def test_an_import_waits_while_the_storage_is_away_and_keeps_nothing(settings, on_folder, lose, tmp_path):
    source = write_photos(tmp_path / "source", count=12)
    Dataset.objects.enqueue("dogs", source, source_kind="server", source_name="source")
    lose()
    perform(Dataset.objects.claim_next())
    waiting = Dataset.objects.get()
    assert (waiting.status, waiting.deaths) == ("queued", 0) and "mount it" in waiting.failure
    assert waiting.due_at > timezone.now() and not list(settings.DATASETS_DIR.glob("*"))
    share(settings, settings.STORAGE_URL)
    Dataset.objects.update(due_at=None)
    perform(Dataset.objects.claim_next())
    waiting.refresh_from_db()
    assert (waiting.status, waiting.failure) == ("ready", "")


def test_a_deleted_dataset_goes_from_the_storage_and_other_hosts_forget_it(shared, hosts, settings, tmp_path):
    dataset = imported(tmp_path)
    hosts("b")
    bring_photos(dataset)
    place = dataset.path
    hosts("a")
    dataset.delete()
    assert names(shared, "datasets/") == []
    hosts("b")
    tidy_datasets()
    assert place.exists()  # it is young: its row might not be committed yet
    note = shared.cache._note("datasets", place.name)
    os.utime(note, (1, 1))
    tidy_datasets()
    assert not place.exists()


def test_what_a_killed_import_left_in_the_storage_is_swept_when_it_is_old(shared, hosts, tmp_path, monkeypatch):
    dataset = imported(tmp_path)
    file = tmp_path / "x"
    file.write_bytes(b"x")
    half = [Piece(f"datasets/99-abc/{name}", file) for name in ("ab/x.png", "unpublished")]
    whole = Piece("datasets/98-abc/ab/x.png", file)  # of the rows of another database
    shared.push([*half, whole, Piece("uploads/1-x.zip", file)])
    tidy_datasets()
    assert len(names(shared)) == 40
    shared.swept.clear()
    for place in ("breedsite.storage", "classifier.models.keeping"):
        monkeypatch.setattr(f"{place}.ABANDONED_SECONDS", -1)
    tidy_datasets()
    assert {name.split("/")[1] for name in names(shared)} == {dataset.folder, "98-abc"} and len(names(shared)) == 37


# --- zips on their way ------------------------------------------------------------------------------------------------
KEY = uuid.uuid4()


def upload(settings) -> Upload:
    """As this host sees it."""
    return Upload(settings.UPLOADS_DIR, 1, KEY)


def zipped(tmp_path: Path) -> bytes:
    return write_zip(tmp_path / "photos.zip", photos(count=12)).read_bytes()


def sent(settings, tmp_path: Path) -> Dataset:
    """A zip has come to this host and waits to be imported."""
    data = zipped(tmp_path)
    append(upload(settings), data, offset=0, total=len(data))
    return enqueued(finish(upload(settings)))


def enqueued(place: Path) -> Dataset:
    return Dataset.objects.enqueue("dogs", place, source_kind="upload", source_name="photos.zip")


def test_a_zip_that_comes_to_one_host_is_imported_by_another_and_goes(shared, hosts, settings, tmp_path):
    sent(settings, tmp_path)
    hosts("b")
    dataset = Dataset.objects.claim_next()
    perform(dataset)
    dataset.refresh_from_db()
    assert dataset.status == Dataset.Status.READY and dataset.photos.count() == 24
    assert names(shared, "uploads/") == [] and list(settings.UPLOADS_DIR.iterdir()) == []
    hosts("a")
    call_command("check")
    Dataset.tidy()
    assert list(settings.UPLOADS_DIR.iterdir()) == []


def test_a_zip_that_is_gone_refuses_the_import_with_a_sentence(shared, hosts, settings, tmp_path):
    sent(settings, tmp_path)
    shared.remove("uploads/")
    hosts("b")
    dataset = Dataset.objects.claim_next()
    perform(dataset)
    dataset.refresh_from_db()
    assert dataset.status == Dataset.Status.REFUSED and "is not in the storage" in dataset.failure


def test_a_cancelled_upload_goes_from_the_storage(shared, hosts, settings, tmp_path):
    dataset = sent(settings, tmp_path)
    assert len(names(shared, "uploads/")) == 1
    hosts("b")
    assert cancel(dataset) and names(shared, "uploads/") == []


def test_pieces_may_come_to_any_host_and_the_file_is_put_together_wherever_it_is_needed(
    shared, hosts, settings, tmp_path
):
    data = zipped(tmp_path)
    steps = [*range(0, len(data), 3000), len(data)]
    for number, (offset, end) in enumerate(itertools.pairwise(steps)):
        hosts("ab"[number % 2])
        assert append(upload(settings), data[offset:end], offset=offset, total=len(data)) == end
    hosts("c")
    assert received(upload(settings)) == len(data)
    hosts("d")
    dataset = enqueued(finish(upload(settings)))
    assert upload(settings).whole.read_bytes() == data
    hosts("e")
    perform(claimed := Dataset.objects.claim_next())
    claimed.refresh_from_db()
    assert claimed == dataset and claimed.status == Dataset.Status.READY
    assert names(shared, "uploads/") == [] and list(settings.UPLOADS_DIR.iterdir()) == []


def test_a_piece_that_is_damaged_there_is_asked_for_again(shared, hosts, settings, tmp_path):
    data = zipped(tmp_path)
    append(upload(settings), data[:5000], offset=0, total=len(data))
    append(upload(settings), data[5000:8000], offset=5000, total=len(data))
    shared.backend.put(names(shared, "uploads/")[1], io.BytesIO(bytes(3000)))
    hosts("b")
    assert received(upload(settings)) in (0, 5000)
    with pytest.raises(WrongPlace) as caught:
        append(upload(settings), data[8000:], offset=8000, total=len(data))
    here = caught.value.received
    append(upload(settings), data[here:], offset=here, total=len(data))
    assert finish(upload(settings)).read_bytes() == data
    hosts("c")
    perform(dataset := enqueued(upload(settings).whole) and Dataset.objects.claim_next())
    dataset.refresh_from_db()
    assert dataset.status == Dataset.Status.READY


def test_a_piece_that_did_not_arrive_there_is_made_up_for_at_the_end(on_folder, lose, settings, tmp_path):
    data = zipped(tmp_path)
    lose()
    with pytest.raises(StorageAway):
        append(upload(settings), data[:5000], offset=0, total=len(data))
    share(settings, settings.STORAGE_URL)
    append(upload(settings), data[5000:], offset=5000, total=len(data))
    enqueued(finish(upload(settings)))
    on_folder("b")
    perform(dataset := Dataset.objects.claim_next())
    dataset.refresh_from_db()
    assert dataset.status == Dataset.Status.READY


# --- runs -------------------------------------------------------------------------------------------------------------
@pytest.mark.timeout(300)
def test_a_run_that_was_stopped_at_one_host_goes_on_at_another(shared, hosts, settings, tmp_path):
    run = make_run(imported(tmp_path), epochs=3)
    hosts("b")
    epochs: list[int] = []

    def leaves() -> bool:
        return TrainingRun.objects.get(pk=run.pk).epochs.exists()

    supervise(claim(), leaving=leaves, say=lambda event: epochs.append(event["event"] == "epoch"))
    run.refresh_from_db()
    assert run.status == "queued" and 1 <= run.epochs.count() < 3
    [*_, newest] = [name for name in names(shared, f"runs/{run.pk}/") if "checkpoint" in name]
    assert len(names(shared, f"runs/{run.pk}/attempt-")) <= 2
    shutil.rmtree(settings.DATA_DIR)
    hosts("c")
    supervise(claim())
    run.refresh_from_db()
    assert run.status == "finished" and run.epochs.count() == 3, run.failure
    assert newest.split("/")[2] == "attempt-1"
    left = [f"runs/{run.pk}/answers.npy", f"runs/{run.pk}/log.txt"]
    assert [name.rpartition(".")[0] for name in names(shared, "runs/")] == left
    hosts("a")
    log = "\n".join(last_lines(run))
    assert "leaving after epoch" in log and "test: top-1" in log and not (run.folder / "log.txt").exists()
    assert len(suspects.rows(suspects.runs(run.dataset)[0])) == 36


def test_what_a_run_works_with_stays_however_full_it_is(on_folder, settings, tmp_path):
    run = make_run(imported(tmp_path))
    other = imported(tmp_path, "other")
    on_folder("b")
    settings.STORAGE_CACHE_BYTES = 1
    with at_hand(run, lambda: True):
        assert run.dataset.path.is_dir()
        bring_photos(other)
        make_room()
        assert run.dataset.path.is_dir() and not other.path.exists()
    make_room()
    assert not run.dataset.path.exists()


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(shared, hosts, tmp_path):
    run = make_run(imported(tmp_path))
    for number in (1, 2):
        file = tmp_path / "checkpoint"
        file.write_bytes(b"epoch %d" % number)
        shared.push([Piece(f"runs/{run.pk}/attempt-1/epoch-0000{number}-step-0000000.checkpoint", file)])
    [_, newest] = names(shared, f"runs/{run.pk}/")
    shared.backend.put(newest, io.BytesIO(b"no state"))
    hosts("b")
    found = bring_checkpoint(run)
    assert found.read_bytes() == b"epoch 1" and found.parent == run.folder / "attempt-1"


def test_a_run_waits_while_the_storage_is_away(on_folder, lose, tmp_path):
    run = make_run(imported(tmp_path))
    lose()
    on_folder("b")
    assert supervise(claim())
    run.refresh_from_db()
    assert (run.status, run.deaths) == ("queued", 0) and "mount it" in run.failure and run.due_at


def test_a_run_whose_photos_are_lost_fails_with_a_sentence(shared, hosts, tmp_path):
    run = make_run(imported(tmp_path))
    shared.remove(f"datasets/{run.dataset.folder}/")
    hosts("b")
    assert supervise(claim())
    run.refresh_from_db()
    assert run.status == "failed" and "is not in the storage" in run.failure


def test_who_is_asked_to_stop_a_run_before_its_photos_came_stops_it(on_folder, tmp_path):
    run = make_run(imported(tmp_path))
    on_folder("b")
    claimed = claim()
    run.stop()
    claimed.refresh_from_db()
    supervise(claimed)
    run.refresh_from_db()
    assert run.status == "stopped" and not EpochMetric.objects.exists()
