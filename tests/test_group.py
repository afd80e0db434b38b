"""Several processes that train one network together give what one gives."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.together import CASES
from trainer.group import LEAST, Group, buckets, measured, nth, synchronized

pytestmark = [pytest.mark.alone, pytest.mark.timeout(240)]

ROOT = Path(__file__).resolve().parent.parent
Found = dict[str, list[dict[str, Any]]]


def by(size: int, folder: Path) -> list[Found]:
    """What each of so many processes found."""
    out = folder / f"of-{size}"
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.together", str(rank), str(size), folder / f"{size}.group", out], cwd=ROOT
        )
        for rank in range(size)
    ]
    assert [process.wait(200) for process in started] == [0] * size
    return [torch.load(f"{out}-{rank}", weights_only=True) for rank in range(size)]


@pytest.fixture(scope="module")
def groups(tmp_path_factory) -> dict[int, list[Found]]:
    """By one process alone, by two and by three together, as one of them after the other knows it."""
    folder = tmp_path_factory.mktemp("together")
    return {size: by(size, folder) for size in (1, 2, 3)}


@pytest.fixture(scope="module")
def found(groups) -> tuple[Found, list[Found]]:
    return groups[1][0], groups[2]


NEAR = [name for name, case in CASES.items() if not case.norm]


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("name", NEAR)
def test_without_batch_norm_several_processes_give_what_one_gives_in_every_epoch(groups, name: str, size: int):
    """To 1e-4: loss, accuracy, what validation says, and every weight."""
    alone, first = groups[1][0], groups[size][0]
    assert len(alone[name]) == len(first[name]) > 0
    for one, two in zip(alone[name], first[name], strict=True):
        for figure in ("loss", "accuracy", "validation_loss", "validation_top1", "skipped_steps", "learning_rate"):
            assert two[figure] == pytest.approx(one[figure], abs=1e-4), figure
        for tensor, weights in one["weights"].items():
            assert torch.allclose(two["weights"][tensor], weights, rtol=0, atol=1e-4), tensor


@pytest.mark.parametrize("name", CASES)
def test_all_processes_know_the_same_bits_and_the_first_alone_writes(groups, name: str):
    told = ("loss", "accuracy", "validation_loss", "validation_top1", "skipped_steps", "parts")
    for first, *others in (groups[2], groups[3]):
        for other in others:
            for one, same in zip(first[name], other[name], strict=True):
                assert [one[figure] for figure in told] == [same[figure] for figure in told]
                known = (key for key in one["weights"] if "batches" not in key)  # counted by who has photos
                assert all(torch.equal(one["weights"][key], same["weights"][key]) for key in known)
                assert (one["files"] > 0, same["files"]) == (True, 0)


def test_a_gradient_that_is_not_finite_in_one_process_is_a_step_that_nobody_makes(found):
    _, (first, _) = found
    for name in ("one skipped step", "batch norm, skipped"):
        assert [epoch["skipped_steps"] for epoch in first[name]] == [1, 0, 0]
        assert all(torch.isfinite(tensor).all() for tensor in first[name][-1]["weights"].values())


def test_memory_that_runs_out_in_one_process_divides_the_batch_in_all(found):
    _, both = found
    assert [one["too little memory"][-1]["parts"] for one in both] == [2, 2]
    assert [one["plain"][-1]["parts"] for one in both] == [1, 1]


def test_with_batch_norm_the_accuracy_lies_within_three_points(found):
    """Each process normalizes its own share."""
    alone, (first, _) = found
    one, two = alone["batch norm"][-1], first["batch norm"][-1]
    assert one["validation_top1"] > 0.8, "it learnt something"
    assert abs(one["validation_top1"] - two["validation_top1"]) <= 0.03
    assert abs(one["accuracy"] - two["accuracy"]) <= 0.03


def test_the_statistics_that_are_kept_are_the_means_over_all_photos(found):
    """Those of weights that stand still: the variance within a share is a little smaller than that of a batch."""
    alone, (first, _) = found
    one, two = (each["batch norm, at rest"][-1]["weights"] for each in (alone, first))
    assert torch.allclose(one["body.1.running_mean"], two["body.1.running_mean"], rtol=0, atol=1e-5)
    assert torch.allclose(one["body.1.running_var"], two["body.1.running_var"], rtol=0.15)


@pytest.mark.parametrize("size", [1, 2, 3, 8])
@pytest.mark.parametrize("photos", [1, 2, 3, 7, 16, 17, 64])
def test_shares_hold_every_photo_once_and_two_at_least(size: int, photos: int):
    shares = [Group(rank, size).share(photos) for rank in range(size)]
    weighing = [share for share in shares if share.weight]
    assert sum(share.weight for share in shares) == pytest.approx(1)
    assert [number for share in weighing for number in range(photos)[share.part]] == list(range(photos))
    sizes = [len(range(photos)[share.part]) for share in shares]
    assert min(sizes) >= min(LEAST, photos) and min(sizes) == shares[0].least
    assert all(share.weight == pytest.approx(len(range(photos)[share.part]) / photos) for share in weighing)


def test_rows_are_divided_as_evenly_as_can_be():
    assert [nth(7, number, 3) for number in range(3)] == [slice(0, 3), slice(3, 5), slice(5, 7)]
    assert [nth(1, number, 3) for number in range(3)] == [slice(0, 1), slice(1, 1), slice(1, 1)]


def test_tensors_of_one_kind_are_summed_together_up_to_a_size(monkeypatch):
    monkeypatch.setattr("trainer.group.BUCKET_BYTES", 16)
    tensors = [torch.zeros(2), torch.zeros(2), torch.zeros(1), torch.zeros(1, dtype=torch.int64), torch.zeros(100)]
    assert [len(bucket) for bucket in buckets(tensors)] == [2, 1, 1, 1]
    assert [one for bucket in buckets(tensors) for one in bucket] == tensors


def test_batch_norms_measure_the_whole_batch_on_gpus_and_answer_as_before():
    """torch has such norms for CUDA alone, so no more than the change of the network is tried here."""
    from timm.layers import BatchNormAct2d

    for norm, made in ((nn.BatchNorm2d(4), nn.SyncBatchNorm), (BatchNormAct2d(4), nn.SyncBatchNorm)):
        net = nn.Sequential(nn.Conv2d(3, 4, 3), norm).eval()
        images = torch.rand(2, 3, 8, 8)
        before = net(images)
        changed = synchronized(net).eval()
        assert isinstance(changed[1], made)
        assert torch.equal(changed(images), before)
        assert list(measured(changed.train())) == []


def test_statistics_that_stand_still_are_not_summed():
    net = nn.Sequential(nn.BatchNorm1d(2), nn.BatchNorm1d(2).eval(), nn.BatchNorm1d(2, track_running_stats=False))
    assert len(list(measured(net))) == 2
