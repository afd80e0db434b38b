"""Files made to cost more than they should: so many of a kind at once, one kind after the other, beside one who sends a
normal photo once a second. What each got, how long the slowest took, and what the web processes' memory went up to.
"""

import contextlib
import os
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.client import percentile, photos_below
from benchmarks.ingest import family
from benchmarks.misbehaviour.clients import Client, Normal, behave, of_others, sized
from benchmarks.site import site
from tests.corpus import CASES

BUSY = "503"  # as right as the file's own answer where many come at once
KINDS: dict[str, frozenset[str]] = {  # name in the corpus -> the statuses that are right
    name: frozenset(map(str, CASES[name].statuses)) | {BUSY}
    for name in (
        "dim12000.jpg",
        "scanbomb_3000.jpg",
        "strip_65500x1.jpg",
        "ztxt_bomb.png",
        "iccp_bomb.png",
        "ff_fill_10mb.jpg",
        "app_empty_10mb.jpg",
        "bomb_13400.png",
        "legit_50mp.jpg",
    )
}
LOOK_SECONDS = 0.05  # between two looks at the memory
REST_SECONDS = 15.0  # before the memory is looked at again


@dataclass
class Kind:
    """What those of one kind got, and how long each took."""

    got: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)


def rss_bytes(process: int) -> int:
    """The resident memory of a process and its children."""
    total = 0
    for one in family(process):
        with contextlib.suppress(OSError):  # it has ended
            found = re.search(r"^VmRSS:\s+(\d+) kB", Path(f"/proc/{one}/status").read_text(), re.MULTILINE)
            total += 1024 * int(found[1]) if found else 0
    return total


@contextlib.contextmanager
def watched(process: int) -> Iterator[list[int]]:
    """The resident memory of a process and its children, in bytes, again and again while the context lasts."""
    seen, over = [rss_bytes(process)], threading.Event()

    def look() -> None:
        while not over.wait(LOOK_SECONDS):
            seen.append(rss_bytes(process))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


def throw(port: int, *, kinds: Mapping[str, frozenset[str]], at_once: int, seconds: float) -> dict[str, Kind]:
    """So many of each kind at the same moment, one kind after the other, again and again for so long, at least once."""
    end, told = time.monotonic() + seconds, {name: Kind() for name in kinds}
    files = {name: CASES[name].data for name in kinds}  # made before any is sent

    def one(data: bytes) -> tuple[str, float]:
        begin = time.monotonic()
        return behave(Client(lambda photo: sized(len(photo)) + photo), port, data), time.monotonic() - begin

    with ThreadPoolExecutor(at_once) as pool:
        while True:
            for name, data in files.items():
                for status, took in pool.map(one, [data] * at_once):
                    told[name].got[status] += 1
                    told[name].seconds.append(took)
            if time.monotonic() >= end:
                return told


def wrong(told: Mapping[str, Kind], kinds: Mapping[str, frozenset[str]]) -> dict[str, dict[str, int]]:
    """Of each kind the answers that were not right."""
    found = {name: of_others(told[name].got, right) for name, right in kinds.items()}
    return {name: others for name, others in found.items() if others}


def in_words(normal: Normal) -> dict[str, Any]:
    """What the normal ones got."""
    return {
        "n": normal.got.total(),
        "others": of_others(normal.got, {"200"}),
        **{f"p{share}_ms": 1000 * percentile(normal.seconds, share / 100) for share in (50, 99)},
    }


def measure(version: Path, photos: Path, *, at_once: int, seconds: float) -> dict[str, Any]:
    file = photos_below(photos, 1)[0]
    load_before = os.getloadavg()[0]
    for name in KINDS:
        len(CASES[name].data)  # made now: it takes seconds, and no part in the measurement
    with site(version, file) as running:
        port = int(running.url.rpartition(":")[2])
        with Normal(port, file.read_bytes(), every_seconds=1.0) as alone:
            time.sleep(max(seconds, 2.5))
        with watched(running.pid) as memory, Normal(port, file.read_bytes(), every_seconds=1.0) as beside:
            told = throw(port, kinds=KINDS, at_once=at_once, seconds=seconds)
        time.sleep(REST_SECONDS)
        after = rss_bytes(running.pid)
    return {
        "answers": {name: dict(kind.got) for name, kind in told.items()},
        "wrong": wrong(told, KINDS),
        "slowest_seconds": {name: max(kind.seconds) for name, kind in told.items()},
        "normal_alone": in_words(alone),
        "normal_beside": in_words(beside),
        "rss_mib": {"before": memory[0] >> 20, "peak": max(memory) >> 20, "after": after >> 20},
        "load_of_the_machine": [load_before, os.getloadavg()[0]],
    }
