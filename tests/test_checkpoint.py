import errno
import os

import pytest
import torch

from trainer import checkpoint

pytestmark = pytest.mark.alone


def state(number: int) -> dict:
    return {"net": {"weight": torch.full((4,), float(number))}, "steps": number}


def test_the_latest_state_comes_back_and_the_last_two_are_kept(tmp_path):
    for epoch in (1, 2, 3):
        checkpoint.save(tmp_path, state(epoch), epoch=epoch)
    assert checkpoint.latest(tmp_path)["steps"] == 3
    assert torch.equal(checkpoint.latest(tmp_path)["net"]["weight"], state(3)["net"]["weight"])
    assert [file.name for file in sorted(tmp_path.iterdir())] == [
        "epoch-00002-step-0000000.checkpoint",
        "epoch-00003-step-0000000.checkpoint",
    ]


def test_the_newest_of_several_folders_comes_back(tmp_path):
    for name, epoch, step in (("attempt-1", 2, 0), ("attempt-2", 1, 7), ("attempt-3", 1, 0)):
        checkpoint.save(tmp_path / name, state(10 * epoch + step), epoch=epoch, step=step)
    folders = [tmp_path / f"attempt-{number}" for number in (1, 2, 3, 4)]
    assert checkpoint.latest(*folders)["steps"] == 20
    assert checkpoint.latest(*folders[1:])["steps"] == 17
    checkpoint.save(folders[3], state(99), epoch=2)
    assert checkpoint.latest(*folders)["steps"] == 99


def test_an_empty_folder_has_none(tmp_path):
    assert checkpoint.latest(tmp_path / "nowhere") is None


@pytest.mark.parametrize("damage", ["flipped", "cut", "empty", "other"])
def test_a_damaged_one_is_reported_and_the_one_before_it_is_used(tmp_path, caplog, damage: str):
    checkpoint.save(tmp_path, state(1), epoch=1)
    file = checkpoint.save(tmp_path, state(2), epoch=2)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes({"flipped": bytes(data), "cut": bytes(data[:-9]), "empty": b"", "other": b"PK\x03\x04"}[damage])
    assert checkpoint.latest(tmp_path)["steps"] == 1
    assert "epoch-00002" in caplog.text


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_good_one_and_no_rest(tmp_path, monkeypatch, failing: str):
    checkpoint.save(tmp_path, state(1), epoch=1)

    def full(*_arguments, **_named):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full) if failing == "fsync" else patched.setattr("pathlib.Path.replace", full)
        with pytest.raises(OSError, match="No space left"):
            checkpoint.save(tmp_path, state(2), epoch=2)
    assert checkpoint.latest(tmp_path)["steps"] == 1
    assert [file.name for file in tmp_path.iterdir()] == ["epoch-00001-step-0000000.checkpoint"]


def test_what_a_killed_process_left_of_a_write_is_removed_by_the_next(tmp_path):
    (tmp_path / ".epoch-00001-step-0000000.checkpoint.4711.part").write_bytes(b"half of it")
    checkpoint.save(tmp_path, state(1), epoch=1)
    assert [file.name for file in tmp_path.iterdir()] == ["epoch-00001-step-0000000.checkpoint"]


def test_a_payload_that_would_run_code_is_not_run(tmp_path):
    class Payload:
        def __reduce__(self):
            return (tmp_path.joinpath("marker").write_text, ("ran",))

    checkpoint.save(tmp_path, {"evil": Payload()}, epoch=1)
    assert checkpoint.latest(tmp_path) is None
    assert not (tmp_path / "marker").exists()
