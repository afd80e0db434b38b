"""A site that had no storage gets one: what its rows name goes there, and another host reads it."""

import io
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from classifier.models import Batch, BatchItem, Chunk, ModelVersion, predicting
from classifier.models.receiving import receive
from tests.artifacts import make_artifact
from tests.buckets import share
from tests.squares import make_dataset, make_run
from trainer.models.carrying import bring_answers, bring_checkpoint
from trainer.models.sharing import bring_photos

pytestmark = pytest.mark.django_db(transaction=True)


def fill() -> str:
    out = io.StringIO()
    call_command("fillstorage", stdout=out, stderr=out)
    return out.getvalue()


def test_without_a_storage_there_is_nothing_to_fill():
    with pytest.raises(CommandError, match="STORAGE_URL is not set"):
        fill()


def test_everything_that_rows_name_goes_there_and_is_read_by_another_host(
    settings, hosts, folder, artifact_folder, make_picture, monkeypatch
):
    monkeypatch.setattr(Batch, "ring", staticmethod(lambda: True))
    monkeypatch.setattr(Chunk, "ring", staticmethod(lambda: True))
    version, dataset = ModelVersion.objects.install(artifact_folder), make_dataset()
    run = make_run(dataset)
    checkpoint = run.folder / "attempt-1" / "epoch-00001-step-0000000.checkpoint"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.write_bytes(b"a state")
    run.answers.write_bytes(b"answers")
    batch = Batch.objects.begin([version])
    [new] = receive(batch, [("new.jpg", make_picture(1))])
    old = BatchItem.objects.create(batch=batch, position=1, name="old.jpg")
    (batch.folder / "files" / "000001").write_bytes(make_picture(2))  # as it was named once
    share(settings, folder)
    said = fill()
    assert "tiny:1 is in the storage" in said and f"30 of 30 photos of {dataset}" in said
    hosts("b")
    version.activate()
    bring_photos(dataset)
    bring_answers(run)
    assert bring_checkpoint(run).read_bytes() == b"a state" and run.answers.read_bytes() == b"answers"
    old.refresh_from_db()
    assert predicting.stored(batch, new) == make_picture(1) and predicting.stored(batch, old) == make_picture(2)


def test_what_is_there_is_not_sent_again_and_what_is_damaged_stays_behind(settings, hosts, folder, tmp_path):
    good = ModelVersion.objects.install(make_artifact(tmp_path / "good", seed=1))
    bad = ModelVersion.objects.install(make_artifact(tmp_path / "bad", seed=2))
    (bad.path / "weights.safetensors").write_bytes(b"none")
    dataset = make_dataset()
    photo = dataset.photos.first()
    photo.file(dataset.path).write_bytes(b"another")
    shared = share(settings, folder)
    said = fill()
    assert f"{good} is in the storage" in said and f"{bad} is damaged" in said and "has a damaged photo" in said
    files = {Path(entry.name): entry.modified for entry in shared.entries("versions/")}
    assert {file.parts[1] for file in files} == {good.folder}
    fill()
    assert {Path(entry.name): entry.modified for entry in shared.entries("versions/")} == files
