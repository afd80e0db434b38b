"""Hostile archives are refused whole, with the member's name, and leave nothing outside their place."""

import time
from pathlib import Path

import pytest

from classifier.sources import archive, directory
from classifier.sources.listing import SourceError
from tests.archives import CASES, OK, many_empty
from trainer.ingest import source

pytestmark = pytest.mark.alone


def tree(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize("name", CASES)
def test_an_archive_is_imported_or_refused_whole(name: str, tmp_path: Path):
    case = CASES[name]
    file = tmp_path / "inside" / f"{name}.zip"
    file.parent.mkdir()
    case.write(file)
    before = tree(tmp_path)
    began = time.process_time()
    if case.code == OK:
        records = source.layout(file).records
        assert all(record.read() for record in records)
        assert len({record.label for record in records}) >= 2
    else:
        with pytest.raises(SourceError) as refusal:
            for record in source.layout(file).records:
                record.read()
        assert refusal.value.code == case.code
        assert case.member in str(refusal.value)
        assert str(refusal.value).endswith(".")
    assert tree(tmp_path) == before
    assert time.process_time() - began < 10


def test_names_in_utf8_are_repaired_where_the_archive_says_nothing_of_it(tmp_path: Path):
    CASES["utf8_unflagged_and_gbk"].write(tmp_path / "a.zip")
    labels = {record.label for record in source.layout(tmp_path / "a.zip").records}
    assert "äö" in labels and len(labels) == 2


def test_two_spellings_of_one_name_are_told_and_both_kept(tmp_path: Path):
    CASES["nfc_and_nfd"].write(tmp_path / "a.zip")
    layout = source.layout(tmp_path / "a.zip")
    assert len(layout.records) == 10
    assert any("look the same" in note for note in layout.notes)


def test_what_systems_leave_behind_is_no_photo_and_no_error(tmp_path: Path):
    CASES["mac"].write(tmp_path / "a.zip")
    layout = source.layout(tmp_path / "a.zip")
    assert len(layout.records) == 8 and layout.outside == []


def test_a_million_members_are_counted_without_making_them(tmp_path: Path):
    many_empty(tmp_path / "a.zip")
    with (tmp_path / "a.zip").open("rb") as file:
        size = (tmp_path / "a.zip").stat().st_size
        assert directory.count(file, size, most=200_000) == 200_001
        assert directory.count(file, size, most=2_000_000) == 1_000_000


def test_the_sum_the_number_and_the_size_of_the_file_are_limited(tmp_path: Path):
    CASES["ok_flat"].write(file := tmp_path / "a.zip")
    for limits, code in (
        (archive.ZipLimits(max_total_bytes=100), "too_large"),
        (archive.ZipLimits(max_members=7), "too_many_files"),
        (archive.ZipLimits(max_member_bytes=10), "too_large"),
        (archive.ZipLimits(max_file_bytes=1000), "too_large"),
    ):
        with pytest.raises(SourceError) as refusal:
            archive.listing(file, limits)
        assert refusal.value.code == code
    assert len(archive.listing(file, archive.ZipLimits(max_members=8)).files) == 8
