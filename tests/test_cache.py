"""The cache of features: shared, bounded, and never believed without its digest."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from trainer import cache
from trainer.cache import FeatureCache, Keeper

pytestmark = pytest.mark.alone

KIND, OTHER = "0" * 32, "1" * 32


def photo(number: int) -> str:
    return f"{number:064x}"


def rows(*numbers: int, width: int = 4) -> dict[str, np.ndarray]:
    return {photo(number): np.full(width, number, np.float32) for number in numbers}


@pytest.fixture
def kept(tmp_path: Path) -> FeatureCache:
    return FeatureCache(tmp_path / "features", max_bytes=10**6)


def read(kept: FeatureCache, kind: str = KIND) -> dict[str, list[float]]:
    return {name: row.tolist() for name, row in kept.read(kind)}


def test_what_is_added_is_read_back_by_its_kind(kept):
    kept.add(KIND, rows(1, 2))
    kept.add(KIND, rows(3))
    kept.add(OTHER, rows(1))
    assert read(kept) == {photo(1): [1] * 4, photo(2): [2] * 4, photo(3): [3] * 4}
    assert read(kept, OTHER) == {photo(1): [1] * 4}
    assert read(kept, "2" * 32) == {}


def test_a_folder_that_is_not_there_yet_is_an_empty_cache(kept):
    assert (read(kept), kept.size(), kept.empty()) == ({}, 0, 0)


@pytest.mark.parametrize("damage", ["flip", "cut", "empty"])
def test_a_damaged_file_is_reported_and_removed_and_the_others_are_read(kept, caplog, damage):
    kept.add(KIND, rows(1, 2))
    (file,) = kept.folder.iterdir()
    kept.add(KIND, rows(3))
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes({"flip": bytes(data), "cut": bytes(data[:-5]), "empty": b""}[damage])
    assert read(kept) == {photo(3): [3] * 4}
    assert "damaged" in caplog.text and not file.exists()


def test_a_file_with_the_digest_of_something_else_is_passed_over(kept):
    kept.folder.mkdir()
    data = b"no safetensors at all"
    (kept.folder / f"{KIND}-{cache.digest(data)}.safetensors").write_bytes(data)
    assert read(kept) == {}
    assert kept.size() == 0


def test_what_was_used_longest_ago_goes_first(tmp_path):
    kept = FeatureCache(tmp_path, max_bytes=10**6)
    for number in (1, 2, 3):
        kept.add(f"{number:032}", rows(number, width=1000))
        (file,) = kept.folder.glob(f"{number:032}-*")
        os.utime(file, (number, number))
    one = kept.size() // 3
    assert read(kept, f"{1:032}")  # used just now
    small = FeatureCache(tmp_path, max_bytes=int(3.5 * one))
    small.add(f"{4:032}", rows(4, width=1000))
    assert [bool(read(small, f"{number:032}")) for number in (1, 2, 3, 4)] == [True, False, True, True]
    assert small.size() <= small.max_bytes


def test_a_bound_of_nothing_keeps_nothing(tmp_path):
    kept = FeatureCache(tmp_path, max_bytes=0)
    kept.add(KIND, rows(1))
    assert list(tmp_path.iterdir()) == []


def test_emptying_says_how_much_that_was_and_leaves_a_file_alone_that_is_being_written(kept):
    kept.add(KIND, rows(1, 2))
    size = kept.size()
    young, old = (kept.folder / f".{name}.safetensors.7.part" for name in ("young", "old"))
    for file in (young, old):
        file.write_bytes(b"half")
    os.utime(old, (1, 1))
    assert kept.empty() == size > 0
    assert list(kept.folder.iterdir()) == [young]


def test_many_writers_at_once_with_a_bound_that_is_passed_all_the_time_break_nothing(tmp_path):
    kept = FeatureCache(tmp_path, max_bytes=20_000)

    def work(writer: int) -> int:
        for number in range(30):
            kept.add(KIND, rows(100 * writer + number, width=200))
            for name, row in kept.read(KIND):
                assert row.tolist() == [int(name, 16)] * 200
        return writer

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, range(4))) == [0, 1, 2, 3]
    kept.add(KIND, rows(9999))
    assert 0 < kept.size() <= 20_000


def test_two_processes_that_write_the_same_make_one_file(kept):
    for _ in range(2):
        kept.add(KIND, rows(1, 2))
    assert len(list(kept.folder.iterdir())) == 1


def test_a_full_disk_ends_the_keeping_and_is_said_once(kept, caplog, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(FeatureCache, "add", full)
    keeper = Keeper(kept)
    for number in (1, 2):
        keeper.add(photo(number), {KIND: np.zeros(4, np.float32)})
        keeper.flush()
    assert caplog.text.count("No space left on device") == 1


def test_rows_are_put_into_the_cache_after_some_seconds_and_at_the_end(kept, monkeypatch):
    keeper = Keeper(kept)
    keeper.add(photo(1), {KIND: np.ones(4, np.float32)})
    assert read(kept) == {}
    monkeypatch.setattr(cache, "KEEP_SECONDS", 0)
    keeper.add(photo(2), {KIND: np.ones(4, np.float32), OTHER: np.ones(4, np.float32)})
    assert (len(read(kept)), len(read(kept, OTHER))) == (2, 1)


def test_the_site_can_use_it_without_torch():
    code = "import sys, trainer.cache; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "False"
