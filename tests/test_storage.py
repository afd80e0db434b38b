"""Files that hosts share: there and back, damaged, missing, the storage away, and the bound of what lies here."""

import hashlib
import os
import socket
import subprocess
import sys
import time
from io import BytesIO
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from breedsite import storage
from breedsite.environment import Environment
from breedsite.storage import Broken, Cut, Piece, StorageAway, Store, store
from tests.buckets import share

pytestmark = pytest.mark.alone

NAME = "versions/dogs-1/spec.json"


def written(file: Path, data: bytes = b"a dog") -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    return file


def objects(shared: Store) -> dict[str, bytes]:
    """Everything that is in it."""
    return {entry.name: b"".join(shared.backend.chunks(entry.name)) for entry in shared.entries("")}


def replace(shared: Store, data: bytes) -> None:
    """Somebody writes something else into every object."""
    for name in list(objects(shared)):
        shared.backend.put(name, BytesIO(data))


def test_what_one_host_pushes_another_fetches(shared, tmp_path):
    shared.push([Piece(NAME, written(tmp_path / "here" / "spec.json"))])
    there = tmp_path / "there" / "spec.json"
    assert shared.fetch([Piece(NAME, there, hashlib.sha256(b"a dog").hexdigest())]) == 1
    assert there.read_bytes() == b"a dog" and list(there.parent.iterdir()) == [there]
    assert list(objects(shared)) == [f"{NAME}.{hashlib.sha256(b'a dog').hexdigest()}"]


def test_many_go_and_come_together(shared, tmp_path):
    files = [written(tmp_path / "here" / f"{number:03d}", b"%d" % number) for number in range(300)]
    assert shared.push(Piece(f"datasets/1/{file.name}", file) for file in files) == 300
    assert shared.fetch(Piece(f"datasets/1/{file.name}", tmp_path / "there" / file.name) for file in files) == 300
    assert all((tmp_path / "there" / file.name).read_bytes() == file.read_bytes() for file in files)


def test_of_two_that_were_pushed_under_a_name_the_newer_is_fetched(shared, tmp_path):
    for text in (b"old", b"new"):
        shared.push([Piece(NAME, written(tmp_path / "here", text))])
        time.sleep(1.1)  # S3 counts whole seconds
    shared.fetch([Piece(NAME, tmp_path / "there")])
    assert (tmp_path / "there").read_bytes() == b"new"


@pytest.mark.parametrize("data", [b"", b"a cat", b"a dog and more"])
def test_a_damaged_object_is_named_and_nothing_of_it_is_kept(shared, tmp_path, data):
    shared.push([Piece(NAME, written(tmp_path / "here"))])
    replace(shared, data)
    with pytest.raises(Broken, match=f"{NAME} is damaged in the storage"):
        shared.fetch([Piece(NAME, tmp_path / "there" / "spec.json")])
    assert list((tmp_path / "there").iterdir()) == []


@pytest.mark.parametrize("sha256", ["", "0" * 64])
def test_a_missing_object_is_named(shared, tmp_path, sha256):
    with pytest.raises(Broken, match=f"{NAME} is not in the storage"):
        shared.fetch([Piece(NAME, tmp_path / "there", sha256)])
    assert not (tmp_path / "there").exists()


def test_a_file_that_is_not_what_it_should_be_is_not_pushed(shared, tmp_path):
    with pytest.raises(Broken, match="is not what it was"):
        shared.push([Piece(NAME, written(tmp_path / "here"), "0" * 64)])
    assert objects(shared) == {}


def test_what_is_removed_has_that_beginning_and_nothing_else(shared, tmp_path):
    names = ["runs/1/attempt-1/x", "runs/1/attempt-2/x", "runs/1/answers.npy", "runs/11/attempt-1/x", "runs/1x"]
    shared.push([Piece(name, written(tmp_path / "here")) for name in names])
    shared.remove("runs/1/attempt-")
    assert sorted(name.rpartition(".")[0] for name in objects(shared)) == sorted(names[2:])
    shared.remove("runs/1/")
    assert sorted(name.rpartition(".")[0] for name in objects(shared)) == sorted(names[3:])


def test_who_does_not_want_it_any_more_is_not_kept(shared, tmp_path):
    files = [written(tmp_path / "here" / str(number)) for number in range(3)]
    with pytest.raises(Cut):
        shared.push([Piece(f"datasets/1/{file.name}", file) for file in files], going=lambda: False)
    assert objects(shared) == {}


def test_a_folder_that_is_not_mounted_is_away_and_nothing_is_written_below(settings, folder, tmp_path):
    shared = share(settings, folder)
    (tmp_path / "mnt" / ".breedsite").unlink()
    with pytest.raises(StorageAway, match="mount it"):
        shared.push([Piece(NAME, written(tmp_path / "here"))])
    with pytest.raises(StorageAway, match="mount it"):
        shared.fetch([Piece(NAME, tmp_path / "there")])
    with pytest.raises(StorageAway, match="mount it"):
        shared.fetch([Piece(NAME, tmp_path / "there", "0" * 64)])
    assert list((tmp_path / "mnt").iterdir()) == []


@pytest.fixture
def lost_bucket(settings, bucket, monkeypatch) -> Store:
    """A storage whose server is gone since its first use."""
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        shared = share(settings, bucket)
        storage._store.cache_clear()
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{door.getsockname()[1]}")
    monkeypatch.setattr("breedsite.bucket.TRIES", 1)
    assert store() is not shared
    return store()


def test_a_server_that_does_not_answer_is_away(lost_bucket, tmp_path):
    with pytest.raises(StorageAway, match="The storage cannot be used"):
        lost_bucket.push([Piece(NAME, written(tmp_path / "here"))])
    with pytest.raises(StorageAway):
        lost_bucket.fetch([Piece(NAME, tmp_path / "there", "0" * 64)])
    lost_bucket.remove("versions/dogs-1/")  # later, by a sweep


def test_a_bucket_that_nobody_made_is_away(settings, bucket, tmp_path):
    shared = share(settings, bucket)
    shared.backend.bucket_name = "nobody-made-it"
    with pytest.raises(StorageAway, match="NoSuchBucket"):
        shared.fetch([Piece(NAME, tmp_path / "there", "0" * 64)])


def test_a_full_disk_of_this_host_is_not_the_storages_fault(shared, tmp_path, monkeypatch):
    shared.push([Piece(NAME, written(tmp_path / "here"))])
    full = tmp_path / "full"
    full.symlink_to("/dev/full")
    monkeypatch.setattr(storage.secrets, "token_hex", lambda count: "x")
    monkeypatch.setattr(
        Path, "open", lambda self, mode, real=Path.open: real(full, "wb") if ".part" in self.name else real(self, mode)
    )
    with pytest.raises(OSError, match="No space left") as caught:
        shared.fetch([Piece(NAME, tmp_path / "there", hashlib.sha256(b"a dog").hexdigest())])
    assert not isinstance(caught.value, StorageAway)


# --- what lies here ---------------------------------------------------------------------------------------------------
@pytest.fixture
def cached(settings, folder, hosts) -> Store:
    """Three folders of 1000 bytes that the storage has, and one that it has not; the first was used longest ago."""
    shared = share(settings, folder)
    for age, name in enumerate(["ours", "old", "middle", "new"]):
        written(settings.DATASETS_DIR / name / "ab" / "photo", b"x" * 1000)
        if name != "ours":
            shared.cache.mark("datasets", name)
            os.utime(shared.cache._note("datasets", name), (age * 1000, age * 1000))
    return shared


def here(settings) -> set[str]:
    return {folder.name for folder in settings.DATASETS_DIR.iterdir() if not folder.name.startswith(".")}


def test_what_was_used_longest_ago_goes_first_and_never_what_the_storage_lacks(settings, cached):
    settings.STORAGE_CACHE_BYTES = 2500
    cached.make_room()
    assert here(settings) == {"ours", "middle", "new"}
    settings.STORAGE_CACHE_BYTES = 1
    cached.make_room()
    assert here(settings) == {"ours"}


def test_what_is_in_use_stays_however_full_it_is(settings, cached):
    settings.STORAGE_CACHE_BYTES = 1
    with cached.holding("datasets", "old"):
        cached.make_room(keep={("datasets", "middle")})
        assert here(settings) == {"ours", "old", "middle"}
    cached.make_room()
    assert here(settings) == {"ours"}


def test_a_process_that_was_killed_holds_nothing(settings, cached):
    code = (
        "import sys, time; from pathlib import Path; from breedsite.readcache import ReadCache\n"
        "with ReadCache(Path(sys.argv[1]), {}).hold('datasets', 'old'): print('held', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", code, str(cached.cache.place)]
    settings.STORAGE_CACHE_BYTES = 1
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"held\n"
        cached.make_room()
        assert here(settings) == {"ours", "old"}
        process.kill()
    cached.make_room()
    assert here(settings) == {"ours"}


def test_without_a_bound_everything_stays(settings, cached):
    settings.STORAGE_CACHE_BYTES = 0
    cached.make_room()
    assert len(here(settings)) == 4


def test_another_storage_is_not_taken_for_the_one_that_has_it(settings, cached, tmp_path):
    other = share(settings, (tmp_path / "other").as_uri())
    settings.STORAGE_CACHE_BYTES = 1
    other.make_room()
    assert len(here(settings)) == 4


# --- the setting ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "url",
    [
        "nfs://host/x",
        "file://host/x",
        "file:",
        "/mnt/x",
        "s3:///x",
        "s3://key:secret@bucket/x",
        "s3://b/x?y=1",
        "s3://[/",
    ],
)
def test_an_address_that_is_none_stops_the_start(url, monkeypatch):
    monkeypatch.setenv("STORAGE_URL", url)
    with pytest.raises(ImproperlyConfigured, match="STORAGE_URL is not the address") as caught:
        Environment().storage("STORAGE_URL")
    assert "secret@" not in str(caught.value)


@pytest.mark.parametrize("url", ["", "file:///mnt/breeds", "s3://bucket", "s3://bucket/some/prefix"])
def test_an_address_is_taken_as_it_is(url, monkeypatch):
    monkeypatch.setenv("STORAGE_URL", url)
    assert Environment().storage("STORAGE_URL") == url


def test_without_a_storage_nothing_is_done(settings, tmp_path):
    settings.DATA_DIR = tmp_path / "var"
    assert not store().on
    assert store().push([Piece(NAME, tmp_path / "nothing")]) == store().fetch([Piece(NAME, tmp_path / "nothing")]) == 0
    with store().holding("datasets", "x"):
        store().remove("datasets/x/")
        store().make_room()
    assert not settings.DATA_DIR.exists()


def test_hosts_that_share_a_storage_are_warned_of_keys_of_their_own(settings):
    from breedsite.checks import hosts_that_share_a_storage_share_their_key as check

    assert check(None) == []
    settings.STORAGE_URL, settings.SECRET_KEY_IS_OURS = "s3://bucket", True
    [problem] = check(None)
    assert problem.id == "breedsite.W003" and "SECRET_KEY" in problem.hint
    settings.SECRET_KEY_IS_OURS = False
    assert check(None) == []


def test_what_could_not_be_removed_is_removed_when_the_storage_is_back(settings, folder, tmp_path):
    shared = share(settings, folder)
    shared.push([Piece(name, written(tmp_path / "here")) for name in ("runs/1/attempt-1/x", "runs/2/attempt-1/x")])
    mark = tmp_path / "mnt" / ".breedsite"
    mark.unlink()
    shared.remove("runs/1/")
    shared.settle()
    mark.touch()
    shared.settle()  # too soon after the last try
    assert len(objects(shared)) == 2
    shared.swept.clear()
    shared.settle()
    assert [name[:7] for name in objects(shared)] == ["runs/2/"] and shared.cache.owed() == []
