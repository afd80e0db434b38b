"""Batches at hosts with a DATA_DIR each: what comes to one is answered by another, and seen at a third."""

import io
import zipfile
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from breedsite.storage import StorageAway, Store
from classifier import tasks
from classifier.models import Batch, BatchItem, Chunk, ModelVersion, predicting
from classifier.models.receiving import receive, receive_piece, start
from classifier.problems import Refused
from tests.buckets import share

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def version(shared: Store, hosts: Callable[[str], None], artifact_folder, settings, monkeypatch) -> ModelVersion:
    """Installed by host a, in a storage of either kind."""
    settings.CORES = 1
    monkeypatch.setattr(Batch, "ring", staticmethod(lambda: True))
    monkeypatch.setattr(Chunk, "ring", staticmethod(lambda: True))
    predicting.loaded.cache_clear()
    return ModelVersion.objects.install(artifact_folder)


@pytest.fixture
def pictures(make_picture) -> list[tuple[str, bytes]]:
    return [(f"{seed}.jpg", make_picture(seed)) for seed in range(5)]


def zipped(pictures: list[tuple[str, bytes]]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in pictures:
            archive.writestr(name, data)
    return out.getvalue()


def answered() -> list[tuple[str, str, str]]:
    return list(BatchItem.objects.order_by("position").values_list("name", "status", "code"))


def names(shared: Store) -> list[str]:
    return sorted(entry.name for entry in shared.entries("batches/"))


def test_photos_that_come_to_two_hosts_are_answered_by_a_third(shared, hosts, version, pictures, admin_client):
    batch = Batch.objects.begin([version])
    receive(batch, pictures[:3])
    hosts("b")
    receive(batch, pictures[3:])
    start(batch)
    hosts("c")
    tasks.predict_batches()
    batch.refresh_from_db()
    assert batch.status == Batch.Status.FINISHED, batch.failure
    assert answered() == [(name, "answered", "") for name, _ in pictures]
    hosts("d")
    answer = admin_client.get(reverse("batch_picture", args=[batch.pk, 2, "small"]))
    assert answer.status_code == 200 and len(list(batch.folder.rglob("*-*"))) == 1


def test_a_zip_whose_pieces_come_to_two_hosts_is_answered_by_another(shared, hosts, version, pictures, admin_client):
    batch = Batch.objects.begin([version])
    data = zipped(pictures)
    receive_piece(batch, data[:100], offset=0, total=len(data))
    hosts("other")
    receive_piece(batch, data[100:500], offset=100, total=len(data))
    with pytest.raises(Refused, match="has not come whole"):
        start(batch)
    hosts("a")
    receive_piece(batch, data[500:], offset=500, total=len(data))
    hosts("third")
    start(batch)
    hosts("b")
    tasks.predict_batches()
    assert answered() == [(name, "answered", "") for name, _ in pictures]
    hosts("c")
    assert admin_client.get(reverse("batch_picture", args=[batch.pk, 2, "small"])).status_code == 200


def test_a_photo_that_is_damaged_there_is_told_in_its_row(shared, hosts, version, pictures):
    batch = Batch.objects.begin([version])
    items = receive(batch, pictures)
    [name] = [name for name in names(shared) if items[2].file in name]
    shared.backend.put(name, io.BytesIO(b"no photo"))
    start(batch)
    hosts("b")
    tasks.predict_batches()
    assert [code for _, _, code in answered()] == ["", "", "not_found", "", ""]
    assert "is damaged in the storage" in BatchItem.objects.get(position=2).sentence
    assert not list(batch.folder.rglob(items[2].file))


def test_a_zip_that_is_lost_there_fails_the_batch_with_a_sentence(shared, hosts, version, pictures):
    batch = Batch.objects.begin([version])
    data = zipped(pictures)
    receive_piece(batch, data, offset=0, total=len(data))
    start(batch)
    shared.remove(f"batches/{batch.pk}/")
    hosts("b")
    tasks.predict_batches()
    batch.refresh_from_db()
    assert batch.status == Batch.Status.FAILED and "is not in the storage" in batch.failure


def test_photos_go_from_the_storage_and_from_every_host_when_their_days_are_over(shared, hosts, version, pictures):
    batch = Batch.objects.begin([version])
    receive(batch, pictures)
    start(batch)
    hosts("b")
    tasks.predict_batches()
    copy = batch.folder
    assert len(names(shared)) == 5 and len(list(copy.rglob("*-*"))) == 5
    hosts("a")
    Batch.objects.update(finished_at=timezone.now() - timedelta(days=30))
    Batch.tidy()
    assert names(shared) == [] and not batch.folder.exists()
    hosts("b")
    Batch.tidy()
    assert not copy.exists()


def test_a_deleted_batch_goes_from_the_storage(shared, hosts, version, pictures):
    batch = Batch.objects.begin([version])
    receive(batch, pictures)
    batch.delete()
    assert names(shared) == []


@pytest.fixture
def away(settings, folder, hosts, artifact_folder, tmp_path, monkeypatch) -> Callable[[], None]:
    """Lets the storage of this site go away."""
    share(settings, folder)
    settings.CORES = 1
    monkeypatch.setattr(Batch, "ring", staticmethod(lambda: True))
    monkeypatch.setattr(Chunk, "ring", staticmethod(lambda: True))
    predicting.loaded.cache_clear()
    ModelVersion.objects.install(artifact_folder)
    return lambda: (tmp_path / "mnt" / ".breedsite").unlink()


def test_without_the_storage_no_photo_gets_a_row(away, pictures):
    batch = Batch.objects.begin([ModelVersion.objects.get()])
    away()
    with pytest.raises(StorageAway):
        receive(batch, pictures)
    assert answered() == [] and list((batch.folder / "files").iterdir()) == []


def test_without_the_storage_a_zip_is_not_started(away, pictures):
    batch = Batch.objects.begin([ModelVersion.objects.get()])
    data = zipped(pictures)
    receive_piece(batch, data, offset=0, total=len(data))
    away()
    with pytest.raises(StorageAway):
        start(batch)
    batch.refresh_from_db()
    assert batch.status == Batch.Status.RECEIVING


def test_a_batch_waits_while_the_storage_is_away(settings, away, hosts, pictures):
    batch = Batch.objects.begin([ModelVersion.objects.get()])
    receive(batch, pictures)
    start(batch)
    away()
    hosts("b")
    tasks.predict_batches()
    [chunk] = batch.chunks.all()
    assert (chunk.status, chunk.deaths) == ("queued", 0) and "mount it" in chunk.failure
    share(settings, settings.STORAGE_URL)
    Chunk.objects.update(due_at=None)
    tasks.predict_batches()
    batch.refresh_from_db()
    assert batch.status == Batch.Status.FINISHED and batch.counts["answered"] == 5
