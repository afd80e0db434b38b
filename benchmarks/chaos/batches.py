"""kill -9 of who answers a batch, at random moments: of a process, of both, while it lists, decodes or stores.

A folder, a zip and photos that were sent one by one take turns. Each batch must end with one row for each file, in
order, none twice, and with the rows of the one of its kind that nobody disturbed, to the bit.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from random import Random
from typing import Any
from unittest import mock

import numpy as np
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection
from PIL import Image

from benchmarks.chaos.part import Options, say
from benchmarks.site import ROOT
from breedsite import reconciling
from breedsite.tether import die_with
from classifier import tasks
from classifier.models import Batch, BatchItem, Chunk, ModelVersion, predicting, receiving
from tests.artifacts import make_artifact
from trainer.models import Dataset

WORKERS = 2
PHOTOS, BAD = 200, 20  # files of a batch; every so many-th is no photo
CHUNK, GROUP = 32, 4  # smaller than usual: more places to die at
KINDS = ("folder", "zip", "files")
LONGEST_SECONDS = 300.0  # of a batch, whatever is done to it
LOOK_SECONDS = 0.01
WORK = "import django; django.setup(); from benchmarks.chaos.batches import work; work()"
ROW = ("position", "name", *BatchItem.FOUND)

Rows = list[tuple[Any, ...]]


def work() -> None:
    """A worker without a broker: it looks for work again and again."""
    predicting.CHUNK, predicting.GROUP = CHUNK, GROUP
    with quiet():
        while True:
            reconciling.reconcile()
            tasks.predict_batches()
            time.sleep(0.05)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Nobody is rung for: there is no broker here."""
    with mock.patch.object(Batch, "ring"), mock.patch.object(Chunk, "ring"), mock.patch.object(Dataset, "ring"):
        yield


class Workers:
    """Processes that are started again whenever they end."""

    def __init__(self, log: Path) -> None:
        self.log = log
        self.processes: list[subprocess.Popen[bytes] | None] = [None] * WORKERS

    def tend(self) -> None:
        for number, process in enumerate(self.processes):
            if process is None or process.poll() is not None:
                with self.log.open("ab") as out:
                    self.processes[number] = subprocess.Popen(
                        [sys.executable, "-c", WORK],
                        cwd=ROOT,
                        stdin=subprocess.DEVNULL,
                        stdout=out,
                        stderr=out,
                        preexec_fn=partial(die_with, os.getpid()),  # safe: this process has one thread
                    )

    def kill(self, draw: Random) -> int:
        """Of all, or of one, which may be the one that waits for the other; how many."""
        alive = [process for process in self.processes if process is not None and process.poll() is None]
        victims = alive if draw.random() < 0.6 else draw.sample(alive, min(1, len(alive)))
        for process in victims:
            process.send_signal(signal.SIGKILL)
            process.wait()
        return len(victims)

    def end(self) -> None:
        for process in self.processes:
            if process is not None:
                process.kill()
                process.wait()


def measure(options: Options) -> dict[str, Any]:
    call_command("migrate", verbosity=0)
    draw, kills, batches, broken = options.random(), 0, 0, list[str]()
    version = ModelVersion.objects.install(make_artifact(options.folder / "tiny"))
    owner = User.objects.create_user("ann")
    photos = written(options.folder / "photos")
    workers = Workers(options.folder / "workers.txt")
    calm: dict[str, Rows] = {}
    began = time.monotonic()
    try:
        with quiet():
            for kind in KINDS:
                calm[kind] = ended(begin(kind, photos, version, owner), workers, kind, broken)
            calm_seconds = (time.monotonic() - began) / len(KINDS)
            if broken:
                raise RuntimeError(f"No calm batch: {broken}; see {workers.log}")
            while kills < options.size:
                kind = KINDS[batches % len(KINDS)]
                batch = begin(kind, photos, version, owner)
                batches += 1
                kills += storm(batch, workers, draw, options.size - kills, calm_seconds)
                name = f"batch {batches} ({kind})"
                compare(name, ended(batch, workers, name, broken), calm[kind], broken)
                say(f"{kills} kills in {batches} batches")
    finally:
        workers.end()
        connection.close()
    attempts = list(Chunk.objects.values_list("attempt", flat=True))
    return {
        "kills": kills,
        "batches": batches,
        "files_each": len(calm["folder"]),
        "chunks": len(attempts),
        "chunks_taken_over": sum(attempt > 1 for attempt in attempts),
        "calm_batch_seconds": round(calm_seconds, 1),
        "broken": broken,
    }


def written(folder: Path) -> Path:
    """A folder of tiny pictures and a few files that are none."""
    folder.mkdir()
    for number in range(PHOTOS):
        file = folder / f"{number:03d}.png"
        if number % BAD == BAD - 1:
            file.write_bytes(b"not a picture")
        else:
            pixels = np.random.default_rng(number).integers(0, 256, (40, 40, 3), np.uint8)
            Image.fromarray(pixels).save(file)
    return folder


def begin(kind: str, photos: Path, version: ModelVersion, owner: User) -> Batch:
    """A new batch of these files, which waits for a worker."""
    if kind == "folder":
        return Batch.objects.begin([version], source=photos, by=owner)
    batch = Batch.objects.begin([version], by=owner)
    files = sorted(photos.iterdir())
    if kind == "zip":
        packed = shutil.make_archive(str(photos.with_name("packed")), "zip", photos)
        data = Path(packed).read_bytes()
        receiving.receive_piece(batch, data, offset=0, total=len(data), name="packed.zip")
    else:
        receiving.receive(batch, [(file.name, file.read_bytes()) for file in files])
    receiving.start(batch)
    return batch


def storm(batch: Batch, workers: Workers, draw: Random, most: int, calm_seconds: float) -> int:
    """Kill, after so many rows or so much time, until the batch has ended or there were enough kills; how many."""
    kills = 0
    while kills < most:
        at = batch.items.exclude(status=BatchItem.Status.PENDING).count() + draw.randrange(PHOTOS // 3)
        end = time.monotonic() + draw.uniform(0.0, 2 * calm_seconds if draw.random() < 0.3 else LONGEST_SECONDS)
        while time.monotonic() < end and batch.items.exclude(status=BatchItem.Status.PENDING).count() <= at:
            workers.tend()
            batch.refresh_from_db()
            if batch.status not in Batch.ACTIVE:
                return kills
            time.sleep(LOOK_SECONDS)
        time.sleep(draw.uniform(0.0, 0.05))
        kills += workers.kill(draw)
    return kills


def ended(batch: Batch, workers: Workers, name: str, broken: list[str]) -> Rows:
    """Its rows, once it has ended."""
    end = time.monotonic() + LONGEST_SECONDS
    while batch.status in Batch.ACTIVE:
        if time.monotonic() > end:
            broken.append(f"{name} has not ended after {LONGEST_SECONDS:.0f} s: {batch.status}")
            break
        workers.tend()
        time.sleep(LOOK_SECONDS)
        batch.refresh_from_db()
    if batch.status == Batch.Status.FAILED:
        broken.append(f"{name} failed: {batch.failure}")
    if batch.progress_done != batch.progress_total:
        broken.append(f"{name} says {batch.progress_done} of {batch.progress_total}")
    rows = batch.items.order_by("position").values_list(*ROW)
    return [tuple(bytes(cell) if isinstance(cell, memoryview) else cell for cell in row) for row in rows]


def compare(name: str, rows: Rows, calm: Rows, broken: list[str]) -> None:
    """Note what differs from the batch that nobody disturbed."""
    if [row[0] for row in rows] != list(range(PHOTOS)):
        broken.append(f"{name} has {len(rows)} rows, at other places than 0 to {PHOTOS - 1}")
    different = [row[1] for row, expected in zip(rows, calm, strict=False) if row != expected]
    if different:
        broken.append(f"{name} has {len(different)} other rows than the calm one, such as {different[0]}")
