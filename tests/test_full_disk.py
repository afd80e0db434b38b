"""What each part does on a disk that is really full, and when there is room again."""

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest

from classifier.networks import catalogue
from classifier.preprocess import Preprocessing
from tests.disks import filled, refusal, small_disk
from tests.test_chaos import chaos
from trainer.export import exported

pytestmark = [pytest.mark.disk, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module", autouse=True)
def mountable() -> None:
    if reason := refusal():
        pytest.skip(reason)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Eight megabytes."""
    with small_disk(tmp_path / "disk") as folder:
        yield folder


@pytest.mark.parametrize("leave_bytes", [0, 4_000_000])  # of the 6 that graph and weights take
def test_an_export_says_that_the_disk_is_full_and_leaves_nothing(disk, leave_bytes: int):
    net = catalogue.create({"name": "squeezenet1_1", "head": {"kind": "linear"}}, label_count=4)
    with (
        filled(disk, leave_bytes=leave_bytes),
        pytest.raises(OSError) as full,
        exported(net, "squeezenet1_1", Preprocessing(resize=32, crop=32), within=disk),
    ):
        pytest.fail("it fitted")
    assert full.value.errno == errno.ENOSPC
    assert list(disk.iterdir()) == []


@pytest.mark.alone
def test_every_place_of_a_site_may_be_full():
    """Uploads, datasets, checkpoints, versions, database, logs, temporary folder, and all at once."""
    figures = chaos("disk", "--disk", "1")
    assert figures["held"] == "8 of 8" and figures["overlapping_owners"] == 0
