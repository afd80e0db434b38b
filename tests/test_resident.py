"""The engine process: a real one, with torch on the processor, and one within the test where something must fail."""

from __future__ import annotations

import os
import signal
import socket
import stat
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from classifier import artifact, preprocess
from classifier.artifact import DeviceLost
from classifier.engines import resident, wire
from classifier.engines.gather import Gather
from classifier.engines.held import Versions
from classifier.engines.onnx import OnnxEngine
from classifier.engines.remote import Remote
from classifier.engines.resident import Server, listen
from classifier.ensemble import verified
from classifier.predictor import Predictor
from tests.engines import STARTER, EngineProcess, asking, identity, load_there, small_versions, until
from tests.pictures import encode, smooth

pytestmark = pytest.mark.alone

SPEC = artifact.read(STARTER)
PHOTOS = [encode(smooth(seed)) for seed in range(8)]
PIXELS = np.stack([preprocess.pixels(photo, SPEC.preprocessing) for photo in PHOTOS])


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineProcess]:
    with EngineProcess(tmp_path_factory.mktemp("engine")) as process:
        process.wait_for("listens")
        yield process


@pytest.fixture(scope="module")
def two_versions(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return small_versions(tmp_path_factory.mktemp("versions"))


def together(count: int, ask: Callable[[int], None]) -> None:
    threads = [threading.Thread(target=ask, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)


# --- answers ------------------------------------------------------------------------------------------------------
def test_the_same_photo_gets_the_same_answer_from_there_and_from_here(engine):
    here = Predictor(threads=2, places=64, max_wait_seconds=60)
    here.load(identity(STARTER), STARTER)
    there = asking(engine.address)
    load_there(there, STARTER)
    assert (here.device, there.device) == ("cpu", "cpu:0")
    for photo in PHOTOS:
        expected, found = here.predict(photo), there.predict(photo)
        assert (expected.device, found.device) == ("cpu", "cpu:0")
        assert np.abs(found.probabilities - expected.probabilities).max() < 1e-4
        assert (found.label, found.sure, found.identity) == (expected.label, expected.sure, expected.identity)


def test_logits_come_for_a_batch_as_onnx_runtime_gives_them(engine):
    client = held_by(engine.address)
    expected = OnnxEngine(STARTER / "model.onnx", threads=1)(preprocess.normalize(PIXELS, SPEC.preprocessing))
    answer = client.ask(identity(STARTER).digest, PIXELS, labels=120)
    assert np.abs(answer.logits - expected).max() < 1e-4 * np.abs(expected).max()
    assert answer.together == len(PIXELS)


def held_by(address: Path, folder: Path = STARTER) -> Remote:
    client = Remote(address, ask_seconds=30.0)
    client.want(identity(folder).digest, folder)
    until(lambda: client.tend() or client.device)
    return client


def test_photos_that_wait_share_a_pass(engine):
    client, digest, shared = held_by(engine.address), identity(STARTER).digest, Counter[int]()

    def ask(number: int) -> None:
        for _ in range(10):
            shared[client.ask(digest, PIXELS[number % 8][None], labels=120).together] += 1

    together(8, ask)
    assert sum(shared.values()) == 80
    assert max(shared) >= 4, f"pictures in a pass: {shared}"


def test_a_version_that_is_not_held_yet_is_answered_here_meanwhile(engine, two_versions):
    client = held_by(engine.address)
    other = identity(two_versions[0]).digest
    assert client.ask(other, PIXELS[:1], labels=5) is None
    assert client.well


def test_swaps_under_load_fail_and_mix_nothing(engine, two_versions):
    """Every answer is wholly of one version, whoever computed it; and the engine process computed many of each."""
    predictor, expected = asking(engine.address), {}
    for folder in two_versions:
        alone = Predictor(threads=1, places=8, max_wait_seconds=60)
        alone.load(identity(folder), folder)
        expected |= {(identity(folder), number): alone.predict(photo) for number, photo in enumerate(PHOTOS)}
        load_there(predictor, folder)
    over, counts, wrong = threading.Event(), Counter[tuple[str, str]](), []

    def ask(first: int) -> None:
        number = first
        while not over.is_set():
            number = (number + 1) % len(PHOTOS)
            try:
                found = predictor.predict(PHOTOS[number])
            except Exception as error:  # noqa: BLE001 - any failed request is what this test looks for
                wrong.append(error)
                return
            right = expected[found.identity, number]
            counts[found.identity.digest, found.device] += 1
            if found.labels != right.labels or np.abs(found.probabilities - right.probabilities).max() > 1e-4:
                wrong.append(found)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for turn in range(20):
        folder = two_versions[turn % 2]
        predictor.load(identity(folder), folder)
        assert predictor.predict(PHOTOS[0]).identity == identity(folder)
    over.set()
    for thread in threads:
        thread.join(60)
    assert wrong == []
    assert min(counts[identity(folder).digest, "cpu:0"] for folder in two_versions) > 20, counts


# --- what comes over the socket -----------------------------------------------------------------------------------
def test_this_user_alone_may_connect(engine):
    assert stat.S_IMODE(engine.address.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        os.urandom(4096),
        wire.REQUEST.pack(wire.MAGIC, 1, 1, 2048, bytes(32), 2048 * 2048 * 3) + b"half of it",
        wire.REQUEST.pack(wire.MAGIC, 2, 0, 0, bytes(32), 3) + b"\xff\xfe\xfd",
        wire.REQUEST.pack(wire.MAGIC, 1, 1, 8, bytes.fromhex(identity(STARTER).digest), 192) + bytes(192),
    ],
    ids=["http", "random", "half", "no path", "wrong side"],
)
def test_garbage_is_hung_up_on_and_changes_nothing(engine, sent):
    client = held_by(engine.address)
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(str(engine.address))
        line.settimeout(30)
        with suppress(ConnectionError):  # it need not read what it does not take
            line.sendall(sent)
            line.shutdown(socket.SHUT_WR)
            assert line.recv(1) == b""
    assert client.ask(identity(STARTER).digest, PIXELS[:1], labels=120) is not None
    assert engine.process.poll() is None


def test_a_folder_that_is_no_version_is_refused_with_a_reason(engine, tmp_path):
    client = Remote(engine.address, ask_seconds=30.0)
    client.want("ab" * 32, tmp_path)
    until(lambda: client.tend() or "spec.json" in (client._told or ""))
    assert client.device is None and client.well


# --- a process that ends ------------------------------------------------------------------------------------------
def test_one_that_is_killed_costs_no_request_and_its_successor_is_found(tmp_path):
    with EngineProcess(tmp_path) as process:
        process.wait_for("listens")
        predictor = asking(process.address)
        load_there(predictor, STARTER)
        over, devices, wrong = threading.Event(), Counter[str](), []

        def ask(number: int) -> None:
            while not over.is_set():
                try:
                    devices[predictor.predict(PHOTOS[number]).device] += 1
                except Exception as error:  # noqa: BLE001 - any failed request is what this test looks for
                    wrong.append(error)

        asker = threading.Thread(target=together, args=(4, ask))
        asker.start()
        try:
            until(lambda: devices["cpu:0"] > 20)
            process.process.send_signal(signal.SIGKILL)
            until(lambda: devices["cpu"] > 20)
            assert predictor.device == "cpu"
            process.process.wait(30)
            process.start()
            before = devices["cpu:0"]
            until(lambda: predictor.tend() or devices["cpu:0"] > before + 20)
        finally:
            over.set()
            asker.join(60)
        assert wrong == []


def test_a_second_one_waits_for_the_first_and_takes_its_place(tmp_path):
    with EngineProcess(tmp_path) as first:
        first.wait_for("listens")
        with EngineProcess(tmp_path, name="second") as second:
            client = held_by(first.address)
            assert second.log.read_text() == ""
            first.process.kill()
            second.wait_for("listens")
            until(lambda: client.tend() or client.device)
            assert client.ask(identity(STARTER).digest, PIXELS[:1], labels=120) is not None


LOST = (
    "from classifier.engines.torch import TorchEngine; from classifier.artifact import DeviceLost; "
    "TorchEngine._forward = lambda *_: (_ for _ in ()).throw(DeviceLost('cuda:0: device-side assert triggered'))"
)
STUCK_LOAD = (
    "import time; from classifier.engines import resident; resident.LOAD_SECONDS = 0.5; "
    "resident.verified = lambda *_, **__: time.sleep(60)"
)
STUCK = (
    "import time; from classifier.engines import resident, torch; resident.STUCK_SECONDS = 0.5; "
    "whole = torch.TorchEngine._forward; "
    "torch.TorchEngine._forward = lambda self, images: (time.sleep(60 * (len(images) == 8)), whole(self, images))[1]"
)


def test_a_lost_device_ends_the_process_with_75(tmp_path):
    with EngineProcess(tmp_path, before=LOST) as process:
        process.wait_for("listens")
        client = Remote(process.address)
        client.want(identity(STARTER).digest, STARTER)
        client.tend()
        assert process.process.wait(30) == 75
        assert "device-side assert" in process.log.read_text()


def test_a_pass_that_never_ends_does_so_too_and_its_caller_is_free(tmp_path):
    with EngineProcess(tmp_path, before=STUCK) as process:
        process.wait_for("listens")
        client = held_by(process.address)
        assert client.ask(identity(STARTER).digest, PIXELS, labels=120) is None
        assert process.process.wait(30) == 75


def test_a_load_that_never_ends_does_so_too(tmp_path):
    with EngineProcess(tmp_path, before=STUCK_LOAD) as process:
        process.wait_for("listens")
        client = Remote(process.address)
        client.want(identity(STARTER).digest, STARTER)
        client.tend()
        assert process.process.wait(30) == 75
        assert "is not loaded within" in process.log.read_text()


def test_on_a_gpu_passes_of_several_sizes_are_made_before_anybody_waits_for_one(monkeypatch):
    given, spec = [], artifact.read(STARTER)

    def engine(pictures: np.ndarray) -> None:
        given.append((pictures.shape, pictures.dtype))

    monkeypatch.setattr(resident, "verified", lambda *_, **__: (spec, engine))
    assert resident.loaded(STARTER, "", device="cuda:0") == (spec, engine)
    assert given == [((size, 192, 192, 3), np.uint8) for size in (1, 2, 4, 8, 16, 32, 64)]
    resident.loaded(STARTER, "", device="cpu:0")
    assert len(given) == 7


@pytest.mark.skipif(torch.cuda.device_count() > 7, reason="this machine has the device that is missing here")
def test_without_its_device_it_ends_with_69_and_a_warning(tmp_path):
    with EngineProcess(tmp_path, device="cuda:7") as process:
        assert process.process.wait(60) == 69
        assert "There is no device cuda:7" in process.log.read_text()


def test_who_does_not_answer_is_not_asked_again_for_a_while(tmp_path, monkeypatch):
    address = tmp_path / "silent.sock"
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(address))
        door.listen()
        client = Remote(address, ask_seconds=0.1)
        client.well = True
        client.want(identity(STARTER).digest, STARTER)
        assert client.ask(identity(STARTER).digest, PIXELS[:1], labels=120) is None
        assert not client.well and client._again_at > 0
        connections = [door.accept()]
        client.tend()
        door.settimeout(0.2)
        with pytest.raises(TimeoutError):
            connections.append(door.accept())
        connections[0][0].close()


# --- a memory that is too small, within the test's process --------------------------------------------------------
@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    def lost(error: DeviceLost) -> None:
        raise error

    class Over(Exception):
        pass

    over = threading.Event()

    def look() -> None:
        if over.is_set():
            raise Over

    def run() -> None:
        with pytest.raises(Over):
            one.run(look, seconds=0.05)

    gather = Gather(64)
    gather.start()
    load = partial(verified, threads=1, device="cpu:0")
    with listen(tmp_path / "engine.sock") as door:
        one = Server(door, Versions(load, device="cpu:0", lost=lost), gather)
        thread = threading.Thread(target=run)
        thread.start()
        yield one
        over.set()
        thread.join(30)


def test_a_pass_that_does_not_fit_goes_in_halves(server, tmp_path, monkeypatch):
    client, digest = held_by(tmp_path / "engine.sock"), identity(STARTER).digest
    expected = client.ask(digest, PIXELS, labels=120)
    net, given = server.versions.get(digest).engine.net, []
    whole = net.forward

    def forward(batch):
        given.append(len(batch))
        if len(batch) > 2:
            raise torch.OutOfMemoryError("out of memory")
        return whole(batch)

    monkeypatch.setattr(net, "forward", forward)
    found = client.ask(digest, PIXELS, labels=120)
    assert given == [8, 4, 2, 2, 4, 2, 2]
    assert found.device == "cpu:0" and np.abs(found.logits - expected.logits).max() < 1e-4


def test_where_not_even_one_picture_fits_the_web_process_answers(server, tmp_path, monkeypatch):
    """The engine's own fall back to the processor gives that one answer, and the version is let go."""
    predictor = asking(tmp_path / "engine.sock")
    load_there(predictor, STARTER)
    before = predictor.predict(PHOTOS[0])
    held = server.versions.get(identity(STARTER).digest)
    whole = held.engine._forward

    def forward(images):
        if held.engine.device.type == "cuda":
            raise torch.OutOfMemoryError("out of memory")
        return whole(images)

    monkeypatch.setattr(held.engine, "_forward", forward)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    held.engine.device = torch.device("cuda:0")
    answers = [predictor.predict(PHOTOS[0]) for _ in range(3)]
    assert [answer.device for answer in answers] == ["cpu"] * 3
    assert max(np.abs(answer.probabilities - before.probabilities).max() for answer in answers) < 1e-4
    assert server.versions.get(held.digest) is None
    predictor.tend()
    assert predictor.device == "cpu" and "does not fit into the memory" in predictor.remote._told


def test_an_answer_that_is_not_finite_is_not_believed(server, tmp_path, monkeypatch):
    predictor = asking(tmp_path / "engine.sock")
    load_there(predictor, STARTER)
    engine = server.versions.get(identity(STARTER).digest).engine
    monkeypatch.setattr(engine, "_forward", lambda images: np.full((len(images), 120), np.nan, np.float32))
    found = predictor.predict(PHOTOS[0])
    assert found.device == "cpu" and np.isfinite(found.probabilities).all()
