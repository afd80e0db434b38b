"""Sets that everybody knows: fetched from a server of our own, checked, read; a plain sentence where they cannot be."""

import functools
import hashlib
import http.server
import io
import pickle
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.urls import reverse

from classifier.sources.listing import SourceError
from tests.test_builtin_sets import batch, write_idx
from trainer import tasks
from trainer.ingest import cifar, download, source
from trainer.models import Dataset, importing

pytestmark = pytest.mark.alone


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def published(tmp_path) -> Iterator[tuple[str, Path]]:
    """The address of a server, and the folder of its files."""
    folder = tmp_path / "published"
    folder.mkdir()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/", folder
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def mnist(published, monkeypatch) -> download.Published:
    """A small set in the files of MNIST."""
    address, folder = published
    write_idx(folder, "train", 40, packed=True)
    write_idx(folder, "t10k", 12, packed=True)
    files = {file.name: hashlib.md5(file.read_bytes()).hexdigest() for file in folder.iterdir()}
    known = replace(download.SETS["mnist"], mirrors=(address,), files=files)
    monkeypatch.setitem(download.SETS, "mnist", known)
    return known


@pytest.fixture
def small_cifar(published, monkeypatch) -> download.Published:
    """A set of two files as CIFAR-10 is published: one archive, with members that nobody asked for."""
    address, folder = published
    contents = {
        "data_batch_1": pickle.dumps(batch(1, 40)),
        "test_batch": pickle.dumps(batch(2, 12)),
        "batches.meta": pickle.dumps({"label_names": ["cat", "dog"]}),
    }
    with tarfile.open(folder / "small.tar.gz", "w:gz") as out:
        for name, data in {**contents, "../../escaped": b"x", "readme.html": b"x"}.items():
            member = tarfile.TarInfo(f"{cifar.CIFAR10.folder}/{name}")
            member.size = len(data)
            out.addfile(member, io.BytesIO(data))
    md5 = {name: hashlib.md5(data).hexdigest() for name, data in contents.items()}
    small = replace(
        cifar.CIFAR10,
        train={"data_batch_1": md5["data_batch_1"]},
        test={"test_batch": md5["test_batch"]},
        names=("batches.meta", md5["batches.meta"], "label_names"),
    )
    monkeypatch.setattr(cifar, "SETS", (small,))
    archive = hashlib.md5((folder / "small.tar.gz").read_bytes()).hexdigest()
    known = replace(download.of_cifar(small, "small", "small.tar.gz", archive), mirrors=(address,))
    monkeypatch.setitem(download.SETS, "cifar10", known)
    return known


def test_the_addresses_and_checksums_are_those_that_torchvision_has():
    from classifier.networks import torchvision_ops

    torchvision_ops.declare()
    from torchvision import datasets

    for name, theirs in (("cifar10", datasets.CIFAR10), ("cifar100", datasets.CIFAR100)):
        known = download.SETS[name]
        ((file, md5),) = known.files.items()
        assert (f"{known.mirrors[0]}{file}", md5) == (theirs.url, theirs.tgz_md5)
    idx = {"mnist": datasets.MNIST, "fashionmnist": datasets.FashionMNIST, "kmnist": datasets.KMNIST}
    for name, theirs in idx.items():
        assert list(download.SETS[name].files.items()) == theirs.resources
        assert list(download.SETS[name].mirrors) == theirs.mirrors
    eurosat = download.SETS["eurosat"]
    text = Path(datasets.eurosat.__file__).read_text()
    assert all(f"{eurosat.mirrors[0]}{file}" in text and md5 in text for file, md5 in eurosat.files.items())


def test_a_set_is_fetched_once_and_read(mnist, tmp_path):
    heard: list[int] = []
    place = download.fetch("mnist", tmp_path / "sets" / "mnist", say=heard.append)
    assert len(heard) == 4 and max(heard) == max(file.stat().st_size for file in place.iterdir())
    layout = source.layout(place)
    assert [record.part for record in layout.records] == ["train"] * 40 + ["test"] * 12
    assert source.is_builtin(place)
    heard.clear()
    download.fetch("mnist", place, say=heard.append)
    assert heard == []


def test_of_an_archive_the_named_members_alone_are_kept(small_cifar, tmp_path):
    place = download.fetch("cifar10", tmp_path / "sets" / "cifar10")
    kept = sorted(str(one.relative_to(place)) for one in place.rglob("*") if one.is_file())
    assert kept == [f"{cifar.CIFAR10.folder}/{name}" for name in ("batches.meta", "data_batch_1", "test_batch")] + [
        "lock"
    ]
    assert {one.name for one in tmp_path.iterdir()} == {"published", "sets"}
    assert len(source.layout(place).records) == 52


@pytest.mark.parametrize("name", ["small.tar.gz", ""])
def test_an_archive_that_somebody_fetched_is_read_where_it_lies(small_cifar, published, name):
    place = published[1] / name
    assert source.is_builtin(place) and len(source.layout(place).records) == 52
    assert [file.name for file in published[1].iterdir()] == ["small.tar.gz"]


def test_an_archive_of_the_same_name_alone_is_not_unpacked(small_cifar, published):
    archive = published[1] / "small.tar.gz"
    archive.write_bytes(archive.read_bytes() + b"x")
    with pytest.raises(SourceError, match=r"small\.tar\.gz is not the published file: its MD5 is another"):
        source.layout(published[1])


def test_a_file_that_is_not_the_published_one_is_not_kept(mnist, published, tmp_path):
    (published[1] / "train-labels-idx1-ubyte.gz").write_bytes(b"something else")
    with pytest.raises(SourceError, match="another file than the published one: its MD5 is another"):
        download.fetch("mnist", tmp_path / "mnist")
    kept = {file.name for file in (tmp_path / "mnist").iterdir()}
    assert "train-labels-idx1-ubyte.gz" not in kept and not any(name.endswith(".part") for name in kept)


def test_a_file_without_end_is_left(mnist, monkeypatch, tmp_path):
    monkeypatch.setattr(download, "MAX_BYTES", 100)
    with pytest.raises(SourceError, match="more than the published file"):
        download.fetch("mnist", tmp_path / "mnist")


def test_the_next_mirror_is_asked_where_one_is_away(mnist, published, monkeypatch, tmp_path):
    monkeypatch.setitem(download.SETS, "mnist", replace(mnist, mirrors=("http://127.0.0.1:9/", published[0])))
    assert len(source.layout(download.fetch("mnist", tmp_path / "mnist")).records) == 52


@pytest.mark.parametrize("mirror", ["http://127.0.0.1:9/", "http://nowhere.invalid/", "gone/"])
def test_without_a_network_a_sentence_says_what_to_do(mnist, published, monkeypatch, tmp_path, mirror):
    mirror = f"{published[0]}{mirror}" if mirror == "gone/" else mirror
    monkeypatch.setitem(download.SETS, "mnist", replace(mnist, mirrors=(mirror,)))
    with pytest.raises(SourceError, match=r"MNIST could not be downloaded .*Without a network, get the four files"):
        download.fetch("mnist", tmp_path / "mnist")


@pytest.fixture
def folders(settings, tmp_path, db, monkeypatch):
    for name in ("DATASETS_DIR", "SETS_DIR", "UPLOADS_DIR"):
        setattr(settings, name, tmp_path / name.lower())
    settings.CORES = 1
    monkeypatch.setattr(Dataset, "ring", lambda: True)
    return settings


def test_the_command_downloads_a_set_and_divides_as_a_preset_does(small_cifar, folders):
    call_command("importdataset", "CIFAR-10", "--name", "small", "--preset", "cifar10-resnet9")
    dataset = Dataset.objects.get()
    assert (dataset.status, dataset.source_kind) == ("ready", "builtin")
    assert dataset.counts == {"train": 36, "validation": 4, "test": 12}, "a tenth of what the test part leaves"
    both = ("--preset", "starter", "--fractions", "0.5", "0.2", "0.3")
    with pytest.raises(CommandError, match="give one of them"):
        call_command("importdataset", "cifar10", "--name", "x", *both)


def test_the_admin_downloads_a_set(admin_client, mnist, folders):
    form = {
        "name": "digits", "upload": "8ad0ee2c-5a6d-4c05-b7a4-6d39a51a2b31", "builtin": "mnist", "train": 0.8,
        "validation": 0.1, "test": 0.1, "seed": 1, "division": "dogs120-resnet152",
    }  # fmt: skip
    answer = admin_client.post(reverse("admin:trainer_dataset_add"), form)
    dataset = Dataset.objects.get()
    assert answer.status_code == 302 and dataset.source_kind == "builtin"
    assert dataset.options["fractions"] == [0.75, 0.125, 0.125]
    tasks.import_datasets()
    dataset.refresh_from_db()
    assert (dataset.status, dataset.labels) == ("ready", ["0", "1", "2"])


def test_a_set_that_cannot_be_had_is_refused_in_words(admin_client, mnist, folders, monkeypatch):
    monkeypatch.setitem(download.SETS, "mnist", replace(mnist, mirrors=("http://127.0.0.1:9/",)))
    with pytest.raises(CommandError, match="MNIST could not be downloaded"):
        call_command("importdataset", "mnist", "--name", "digits")
    page = admin_client.get(reverse("admin:trainer_dataset_change", args=[Dataset.objects.get().pk])).text
    assert "MNIST could not be downloaded (127.0.0.1:9: " in page


def test_an_import_is_cancelled_while_it_downloads(mnist, folders, monkeypatch):
    place = Path(folders.SETS_DIR) / "mnist"
    dataset = Dataset.objects.enqueue("digits", place, source_kind="builtin", source_name="mnist")
    monkeypatch.setattr(importing, "LOOK_SECONDS", -1)
    alive = importing.alive

    def stop_first(one: Dataset, **progress: int) -> None:
        Dataset.objects.get(pk=one.pk).stop()
        alive(one, **progress)

    monkeypatch.setattr(importing, "alive", stop_first)
    tasks.import_datasets()
    dataset.refresh_from_db()
    assert dataset.status == "cancelled"
    assert [file.name for file in place.iterdir()] == ["lock"]


def test_what_is_downloaded_so_far_is_told(admin_client, folders):
    place = Path(folders.SETS_DIR) / "mnist"
    dataset = Dataset.objects.begin("digits", place, source_kind="builtin", source_name="mnist")
    address = reverse("admin:trainer_dataset_progress", args=[dataset.pk])
    assert admin_client.get(address).json()["downloaded"] == 0
    place.mkdir(parents=True)
    (place / "train-images-idx3-ubyte.gz.part").write_bytes(bytes(1234))
    assert admin_client.get(address).json()["downloaded"] == 1234


def test_two_places_at_once_are_refused(admin_client, folders, tmp_path):
    (tmp_path / "source" / "dogs").mkdir(parents=True)
    folders.DATASETS_SOURCE_DIRS = [tmp_path / "source"]
    form = {"name": "x", "builtin": "mnist", "server": str(tmp_path / "source" / "dogs")}
    text = admin_client.post(reverse("admin:trainer_dataset_add"), form).text
    assert "Choose one place alone where the photos are." in text


def test_shares_are_offered_as_the_presets_systems_have_them(admin_client):
    text = admin_client.get(reverse("admin:trainer_dataset_add")).text
    assert "as cifar10-resnet9: 75 / 8.33 / 16.7 %" in text and "as dogs120-resnet152: 75 / 12.5 / 12.5 %" in text
