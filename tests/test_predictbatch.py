"""manage.py predictbatch: a folder in, a table out."""

from __future__ import annotations

import csv
import io
import json

import pytest
from django.core.management import CommandError, call_command

from classifier.models import Batch, predicting

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def photos(settings, tmp_path, make_picture):
    settings.BATCHES_DIR = tmp_path / "batches"
    settings.CORES = 1
    predicting.loaded.cache_clear()
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed in range(3):
        (folder / f"{seed}.jpg").write_bytes(make_picture(seed))
    return folder


def call(*arguments: object) -> tuple[str, str]:
    out, told = io.StringIO(), io.StringIO()
    call_command("predictbatch", *map(str, arguments), stdout=out, stderr=told)
    return out.getvalue(), told.getvalue()


def test_it_writes_a_line_for_each_photo(active_version, photos):
    out, told = call(photos)
    lines = list(csv.DictReader(io.StringIO(out)))
    assert [line["file"] for line in lines] == ["0.jpg", "1.jpg", "2.jpg"]
    assert {line["status"] for line in lines} == {"answered"} and "3 photos, 0 of them could not be used" in told


def test_it_writes_into_a_file_in_the_format_that_is_asked_for(active_version, photos, tmp_path):
    out, _ = call(photos, "--format", "jsonl", "--out", tmp_path / "found.jsonl", "--version", "tiny:1")
    assert out == ""
    lines = [json.loads(line) for line in (tmp_path / "found.jsonl").read_text().splitlines()]
    assert [line["versions"] for line in lines] == [["tiny:1"]] * 3


def test_it_ends_with_1_where_a_photo_could_not_be_used(active_version, photos):
    (photos / "z.txt").write_text("no photo")
    with pytest.raises(SystemExit) as end:
        call(photos)
    assert end.value.code == 1


def test_it_goes_on_with_an_interrupted_batch(active_version, photos, monkeypatch):
    def interrupted(chunk, decoders):
        raise KeyboardInterrupt

    monkeypatch.setattr("classifier.management.commands.predictbatch.predict", interrupted)
    with pytest.raises(CommandError, match="predictbatch --resume"):
        call(photos)
    monkeypatch.undo()
    batch = Batch.objects.get()
    assert batch.status == "stopped"
    out, _ = call("--resume", batch.pk)
    assert len(out.splitlines()) == 4
    assert call("--resume", batch.pk)[0] == out  # it is kept


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "Name a folder or zip, or a batch"),
        (["here", "--resume", 1], "Name a folder or zip, or a batch"),
        (["--resume", 99], "There is no batch 99"),
        (["here", "--version", "cats"], "There is no version 'cats'"),
        (["/nowhere/at/all"], "There is no file all"),
    ],
)
def test_it_says_what_is_wrong(active_version, photos, arguments, sentence):
    with pytest.raises(CommandError, match=sentence):
        call(*arguments)


def test_it_needs_a_version(db, photos):
    with pytest.raises(CommandError, match="No version is active"):
        call(photos)
