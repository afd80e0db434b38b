"""A batch from its photos to its answers: a row for each, in order, whatever happens to who works on it."""

from __future__ import annotations

import os
import shutil
import threading
import time
import zipfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from django.db import connection
from django.db.models import QuerySet
from django.utils import timezone

from breedsite import reconciling
from classifier import tasks
from classifier.api import predictor
from classifier.artifact import DeviceLost
from classifier.decoding import Decoders
from classifier.ensemble import NotTogether
from classifier.models import Batch, BatchItem, Chunk, ModelVersion, predicting
from tests.artifacts import make_artifact
from tests.corpus import CASES

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def place(settings, tmp_path, monkeypatch) -> Path:
    settings.BATCHES_DIR = tmp_path / "batches"
    settings.CORES = 1
    monkeypatch.setattr(Batch, "ring", staticmethod(lambda: True))
    monkeypatch.setattr(Chunk, "ring", staticmethod(lambda: True))
    monkeypatch.setattr(predicting, "CHUNK", 8)
    monkeypatch.setattr(predicting, "GROUP", 3)
    predicting.loaded.cache_clear()
    return tmp_path


@pytest.fixture
def photos(place, make_picture) -> Path:
    """A folder of twenty photos and a file that is none."""
    folder = place / "photos"
    (folder / "sub").mkdir(parents=True)
    for seed in range(20):
        (folder / "sub" / f"{seed:02d}.jpg").write_bytes(make_picture(seed))
    (folder / "notes.txt").write_text("not a photo")
    return folder


@pytest.fixture
def decoders() -> Iterator[Decoders]:
    with Decoders(1) as decoders:
        yield decoders


def zipped(folder: Path, file: Path) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(file, "w") as out:
        for one in sorted(folder.rglob("*")):
            out.write(one, one.relative_to(folder))
    return file


def rows(batch: Batch) -> list[tuple[object, ...]]:
    names = ("position", "name", "status", "code", "label", "probability", "sure", "probabilities")
    return [
        tuple(bytes(value) if isinstance(value, memoryview) else value for value in row)
        for row in batch.items.order_by("position").values_list(*names)
    ]


def test_every_photo_of_a_folder_gets_a_row_in_order(active_version, photos):
    batch = Batch.objects.begin([active_version], source=photos)
    tasks.predict_batches()
    batch.refresh_from_db()
    assert (batch.status, batch.failure, batch.progress_done, batch.progress_total) == ("finished", "", 21, 21)
    assert batch.labels == list(active_version.card.labels) and batch.finished_at and batch.token is None
    assert batch.counts == {"pending": 0, "answered": 20, "refused": 1}
    items = list(batch.items.order_by("position"))
    assert [item.name for item in items] == ["notes.txt", *(f"sub/{seed:02d}.jpg" for seed in range(20))]
    assert [item.position for item in items] == list(range(21))
    assert (items[0].code, items[0].label, items[0].probabilities) == ("unsupported_format", "", None)


def test_the_answers_are_those_of_the_page_and_the_api(active_version, photos):
    batch = Batch.objects.begin([active_version], source=photos)
    tasks.predict_batches()
    for item in batch.items.filter(status="answered"):
        expected = predictor().predict((photos / item.name).read_bytes())
        stored = np.frombuffer(bytes(item.probabilities), "<f4")
        assert np.abs(stored - expected.probabilities).max() < 1e-5
        assert (item.label, item.sure) == (expected.label, expected.sure)
        assert item.probability == pytest.approx(expected.probabilities.max(), abs=1e-5)


def test_a_zip_that_was_sent_is_answered_as_its_folder_is(active_version, photos):
    first = Batch.objects.begin([active_version], source=photos)
    second = Batch.objects.begin([active_version])
    zipped(photos, second.folder / "photos.zip")
    Batch.objects.filter(pk=second.pk).update(source_kind="zip")
    assert second.send_off() and not second.send_off()
    tasks.predict_batches()
    answers = {row[1]: row[2:] for row in rows(first)}
    names = [row[1] for row in rows(second)]
    assert {row[1]: row[2:] for row in rows(second)} == answers and sorted(names) == sorted(answers)


def test_hostile_files_get_their_code_and_stop_nothing(active_version, place, make_picture):
    folder = place / "mixed"
    folder.mkdir()
    bad = ["trunc_50.jpg", "empty.jpg", "dim12000.jpg", "anim.gif", "one_px.jpg", "ztxt_bomb.png"]
    for name in bad:
        (folder / name).write_bytes(CASES[name].data)
    (folder / "z.jpg").write_bytes(make_picture())
    (folder / "large.jpg").write_bytes(make_picture() + bytes(11 * 1024**2))
    batch = Batch.objects.begin([active_version], source=zipped(folder, place / "mixed.zip"))
    tasks.predict_batches()
    batch.refresh_from_db()
    assert batch.status == "finished"
    found = {item.name: (item.status, item.code) for item in batch.items.all()}
    assert found["z.jpg"] == ("answered", "")
    assert found["large.jpg"] == ("refused", "file_too_large")
    for name in bad:
        assert found[name][0] == "refused" and found[name][1] in CASES[name].codes, name


@pytest.mark.parametrize("source", ["nothing.zip", "empty", "plain.txt"])
def test_a_source_without_photos_fails_with_a_sentence(active_version, place, source):
    (place / "empty").mkdir()
    (place / "plain.txt").write_text("not a zip")
    batch = Batch.objects.begin([active_version], source=place / source)
    tasks.predict_batches()
    batch.refresh_from_db()
    assert batch.status == "failed" and batch.failure.endswith(".") and not batch.items.exists()


def test_a_photo_that_goes_meanwhile_gets_a_code(active_version, photos):
    batch = Batch.objects.begin([active_version], source=photos)
    predicting.enlist(Batch.objects.claim_next())
    (photos / "sub" / "05.jpg").unlink()
    tasks.predict_batches()
    assert batch.items.get(name="sub/05.jpg").code == "not_found"
    batch.refresh_from_db()
    assert batch.status == "finished"


def test_who_leaves_gives_the_chunk_back_and_another_goes_on_with_the_same_rows(active_version, photos, decoders):
    calm = Batch.objects.begin([active_version], source=photos)
    tasks.predict_batches()
    batch = Batch.objects.begin([active_version], source=photos)
    predicting.enlist(Batch.objects.claim_next())
    for _ in range(20):  # each answers one group and leaves
        chunk = Chunk.objects.claim_next(device="here cpu")
        assert chunk is not None
        predicting.predict(chunk, decoders, leaving=lambda: True)
        batch.refresh_from_db()
        if batch.status == "finished":
            break
    else:
        pytest.fail("it never ended")
    assert rows(batch) == rows(calm)
    assert batch.progress_done == 21


def test_a_chunk_that_is_done_twice_writes_the_same_rows_and_only_its_owner_writes(active_version, photos, decoders):
    batch = Batch.objects.begin([active_version], source=photos)
    predicting.enlist(Batch.objects.claim_next())
    slow = Chunk.objects.claim_next(device="here cpu")
    Chunk.objects.filter(pk=slow.pk).update(heartbeat_at=timezone.now() - timedelta(hours=1))
    reconciling.reconcile()  # taken back, for it was silent
    Chunk.objects.filter(pk=slow.pk).update(due_at=None)
    tasks.predict_batches()
    expected = rows(batch)
    predicting.predict(slow, decoders)  # awake again
    assert rows(batch) == expected and len(expected) == 21
    batch.refresh_from_db()
    assert batch.status == "finished" and Chunk.objects.get(pk=slow.pk).status == "finished"


def test_one_machine_answers_one_chunk_at_a_time(active_version, photos):
    Batch.objects.begin([active_version], source=photos)
    predicting.enlist(Batch.objects.claim_next())
    assert Chunk.objects.claim_next(device="here cpu") is not None
    assert Chunk.objects.claim_next(device="here cpu") is None
    assert Chunk.objects.claim_next(device="there cpu") is not None


def test_a_lost_device_ends_the_process_and_the_chunk_waits_for_another(active_version, photos, monkeypatch, decoders):
    class Ended(BaseException):
        pass

    def end(code):
        raise Ended(code)

    def lost(*_):
        raise DeviceLost("cuda:0: device-side assert triggered")

    batch = Batch.objects.begin([active_version], source=photos)
    predicting.enlist(Batch.objects.claim_next())
    with monkeypatch.context() as broken:
        broken.setattr(predicting, "loaded", lost)
        broken.setattr(predicting.os, "_exit", end)
        with pytest.raises(Ended, match="75"):
            predicting.predict(Chunk.objects.claim_next(device="here cpu"), decoders)
    chunk = Chunk.objects.order_by("pk").first()
    assert (chunk.status, chunk.deaths) == ("queued", 1) and chunk.due_at > timezone.now()
    Chunk.objects.update(due_at=None)
    tasks.predict_batches()
    batch.refresh_from_db()
    assert batch.status == "finished" and batch.device == "cpu"


def test_a_stop_keeps_what_is_answered_and_resume_goes_on(active_version, photos, decoders):
    batch = Batch.objects.begin([active_version], source=photos)
    predicting.enlist(Batch.objects.claim_next())
    predicting.predict(Chunk.objects.claim_next(device="here cpu"), decoders)
    batch.refresh_from_db()
    assert batch.status == "predicting" and batch.stop() and batch.status == "stopped"
    tasks.predict_batches()
    assert batch.counts == {"pending": 13, "answered": 7, "refused": 1}
    assert not batch.stop()
    assert batch.resume() and batch.status == "predicting"
    tasks.predict_batches()
    batch.refresh_from_db()
    assert batch.status == "finished" and batch.counts["answered"] == 20
    assert not batch.resume()


def test_a_stop_while_it_is_listed_ends_it_then(active_version, photos):
    batch = Batch.objects.begin([active_version], source=photos)
    claimed = Batch.objects.claim_next()
    assert Batch.objects.get(pk=batch.pk).stop()
    predicting.enlist(claimed)
    batch.refresh_from_db()
    assert batch.status == "stopped" and not Chunk.objects.exclude(status="stopped").exists()


def test_the_last_chunk_of_a_dead_worker_ends_the_batch_with_its_reason(active_version, photos, settings):
    settings.BACKOFF_SECONDS = [0, 0, 0]
    batch = Batch.objects.begin([active_version], source=photos)
    predicting.enlist(Batch.objects.claim_next())
    first = Chunk.objects.order_by("pk").first()
    for _ in range(3):
        claimed = Chunk.objects.claim_next()
        assert claimed.pk == first.pk
        Chunk.objects.filter(pk=first.pk).update(heartbeat_at=timezone.now() - timedelta(hours=1))
        reconciling.reconcile()
    tasks.predict_batches()
    batch.refresh_from_db()
    assert batch.status == "failed" and "died 3 times" in batch.failure
    assert batch.counts["answered"] == 13
    assert batch.resume()
    tasks.predict_batches()
    batch.refresh_from_db()
    assert batch.status == "finished" and batch.failure == "" and batch.counts["answered"] == 20


def test_a_version_whose_files_are_gone_fails_the_batch_with_a_sentence(active_version, photos):
    batch = Batch.objects.begin([active_version], source=photos)
    shutil.rmtree(active_version.path)
    tasks.predict_batches()
    batch.refresh_from_db()
    assert batch.status == "failed" and batch.failure


def test_versions_answer_together_the_best_of_them_first(active_version, photos, tmp_path):
    better = ModelVersion.objects.install(make_artifact(tmp_path / "better", seed=3, name="better"))
    batch = Batch.objects.begin([better, active_version], source=photos, combine="vote")
    assert {version.pk for version in batch.members} == {better.pk, active_version.pk}
    tasks.predict_batches()
    batch.refresh_from_db()
    assert batch.status == "finished" and batch.counts["answered"] == 20


def test_versions_with_other_labels_make_no_batch(active_version, tmp_path, photos):
    other = ModelVersion.objects.install(make_artifact(tmp_path / "other", labels=("cat", "dog"), name="other"))
    with pytest.raises(NotTogether, match="do not know the same labels"):
        Batch.objects.begin([active_version, other], source=photos)
    with pytest.raises(NotTogether, match="Choose 1 to 8 versions"):
        Batch.objects.begin([], source=photos)
    assert not Batch.objects.exists()


def test_photos_go_after_their_time_and_answers_stay(active_version, photos, settings):
    batch = Batch.objects.begin([active_version])
    zipped(photos, batch.folder / "photos.zip")
    Batch.objects.filter(pk=batch.pk).update(source_kind="zip")
    batch.send_off()
    tasks.predict_batches()
    reconciling.reconcile()
    assert batch.folder.is_dir()
    Batch.objects.filter(pk=batch.pk).update(finished_at=timezone.now() - timedelta(days=8))
    reconciling.reconcile()
    batch.refresh_from_db()
    assert not batch.folder.exists() and batch.photos_gone_at and batch.counts["answered"] == 20


def test_what_never_came_and_what_no_row_names_is_removed(active_version, settings):
    settings.BATCHES_DIR.mkdir(parents=True)
    for name, age in (("99998", 60), ("99999", 2 * 86400)):  # the younger may be of a row that is not committed yet
        (settings.BATCHES_DIR / name).mkdir()
        os.utime(settings.BATCHES_DIR / name, (time.time() - age,) * 2)
    batch = Batch.objects.begin([active_version])
    reconciling.reconcile()
    batch.refresh_from_db()
    assert batch.status == "receiving"
    assert [folder.name for folder in settings.BATCHES_DIR.iterdir()] == ["99998"]
    Batch.objects.filter(pk=batch.pk).update(created_at=timezone.now() - timedelta(days=2))
    reconciling.reconcile()
    batch.refresh_from_db()
    assert batch.status == "stopped"


def test_a_batch_goes_with_its_photos_and_leaves_a_folder_of_the_server_alone(active_version, photos):
    batch = Batch.objects.begin([active_version], source=photos)
    batch.folder.mkdir(parents=True)
    tasks.predict_batches()
    batch.delete()
    assert not BatchItem.objects.exists() and not Chunk.objects.exists()
    assert len(list(photos.rglob("*.jpg"))) == 20


def test_a_sum_that_is_older_than_an_answer_does_not_have_the_last_word(active_version, photos, monkeypatch):
    """A look at the batch reads how far its chunks are, and somebody stores an answer before that is written down."""
    Batch.objects.begin([active_version], source=photos)
    predicting.enlist(Batch.objects.claim_next())
    chunk = predicting.claim()
    items, sums, meanwhile = list(chunk.batch.items.filter(position__lt=chunk.stop_at)), QuerySet.aggregate, []
    for item in items:
        item.status = BatchItem.Status.REFUSED

    def store() -> None:
        chunk.answered(items)
        connection.close()

    def aggregate(rows: QuerySet, *args, **options) -> dict[str, object]:
        found = sums(rows, *args, **options)
        if not meanwhile:
            meanwhile.append(threading.Thread(target=store))
            meanwhile[0].start()
            meanwhile[0].join(1.0)
        return found

    monkeypatch.setattr(QuerySet, "aggregate", aggregate)
    Batch.objects.get(pk=chunk.batch_id).settle()
    meanwhile[0].join(30)
    assert Batch.objects.get(pk=chunk.batch_id).progress_done == len(items) == 8
