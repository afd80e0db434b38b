"""The server with an engine process beside it, over HTTP, with torch on the processor where a GPU would be."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.site import Site, site
from classifier.devices import has_driver
from tests.engines import STARTER, until
from tests.live import Wire, part
from tests.pictures import encode, smooth
from tests.processes import gone, parent_of, running

pytestmark = pytest.mark.alone

PHOTOS = [encode(smooth(seed)) for seed in range(4)]


def children(parent: int) -> list[int]:
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(parent)], capture_output=True, text=True, check=False)
    return [int(word) for word in found.stdout.split()]


def engines(running_site: Site) -> list[int]:
    return [pid for pid in children(running_site.pid) if b"classifier.engines.resident" in command(pid)]


def command(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def has_torch(pid: int) -> bool:
    return "libtorch" in Path(f"/proc/{pid}/maps").read_text()


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("photo") / "dog.jpg"
    file.write_bytes(PHOTOS[0])
    return file


@pytest.fixture(scope="module")
def served(photo: Path) -> Iterator[Site]:
    settings = {"WEB_PROCESSES": "2", "PREDICT_DEVICE": "cpu:0", "PREDICT_WAIT_SECONDS": "60"}
    with site(STARTER, photo, settings=settings) as one:
        yield one


def wire_of(one: Site) -> Wire:
    return Wire(int(one.url.rpartition(":")[2]))


def answered_there(one: Site) -> None:
    """Until the web processes that answer have found the engine process."""
    wire, in_a_row = wire_of(one), Counter[str]()

    def look() -> bool:
        device = wire.photo(PHOTOS[0]).json["device"]
        in_a_row[device] = in_a_row[device] + 1 if device == "cpu:0" else in_a_row.clear() or 0
        return in_a_row["cpu:0"] >= 10

    until(look)


def test_answers_the_page_and_readyz_say_which_device_it_was(served):
    answered_there(served)
    wire = wire_of(served)
    # Ten answers may all come from one of the two, and the other find it a second later.
    until(lambda: wire.photo(PHOTOS[1]).json["device"] == "cpu:0")
    until(lambda: " ms on cpu:0" in wire.form(part("image", PHOTOS[1]), path="/").body.decode())
    until(lambda: wire("GET", "/readyz").json["device"] == "cpu:0")


def test_the_engine_process_alone_has_torch(served):
    answered_there(served)
    (engine,) = engines(served)
    web = [pid for pid in children(served.pid) if pid != engine]
    assert len(web) == 2 and parent_of(engine) == served.pid
    assert has_torch(engine)
    assert not any(has_torch(pid) for pid in (served.pid, *web))


def test_a_kill_of_the_engine_process_amid_requests_fails_none_of_them_and_it_comes_back(served):
    answered_there(served)
    wire, over, seen = wire_of(served), threading.Event(), Counter[tuple[int, str]]()

    def ask(number: int) -> None:
        while not over.is_set():
            answer = wire.photo(PHOTOS[number])
            seen[answer.status, answer.json.get("device", answer.json.get("code"))] += 1

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    try:
        until(lambda: seen[200, "cpu:0"] > 20)
        (engine,) = engines(served)
        os.kill(engine, signal.SIGKILL)
        until(lambda: seen[200, "cpu"] > 20)
        until(lambda: engines(served) not in ([], [engine]))
        before = seen[200, "cpu:0"]
        until(lambda: seen[200, "cpu:0"] > before + 20)
    finally:
        over.set()
        for thread in threads:
            thread.join(60)
    assert set(seen) == {(200, "cpu"), (200, "cpu:0")}


def test_the_end_of_the_server_is_the_end_of_its_engine_process(photo):
    with site(STARTER, photo, settings={"WEB_PROCESSES": "1", "PREDICT_DEVICE": "cpu:0"}) as one:
        until(lambda: engines(one))
        (engine,) = engines(one)
        assert len(children(one.pid)) == 2
        os.kill(one.pid, signal.SIGTERM)
        until(lambda: not running(one.pid))
        assert gone([engine])


@pytest.mark.skipif(has_driver(), reason="this machine has the GPU that is missing here")
def test_a_gpu_that_is_asked_for_and_missing_leaves_the_processor(photo):
    with site(STARTER, photo, settings={"WEB_PROCESSES": "1", "PREDICT_DEVICE": "cuda"}) as one:
        assert wire_of(one).photo(PHOTOS[0]).json["device"] == "cpu"
        assert engines(one) == []


def test_without_the_setting_nothing_is_started(photo):
    with site(STARTER, photo, settings={"WEB_PROCESSES": "1"}) as one:
        assert wire_of(one).photo(PHOTOS[0]).json["device"] == "cpu"
        assert children(one.pid) == []
