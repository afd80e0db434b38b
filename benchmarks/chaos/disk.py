"""Each place where something is stored is a small disk, which is filled at the worst moment and emptied again.

Requests must be refused with 503 `storage_full` where they need room and answered where they do not; a run must wait,
say how much it needs, and go on by itself; nothing may be corrupt afterwards. Needs root, for the mounts.
"""

import contextlib
import os
import shutil
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any
from uuid import uuid4

from django.conf import settings

from benchmarks.chaos.installation import Installation, ended, installed
from benchmarks.chaos.part import Options, say
from benchmarks.chaos.visitor import Visitor, administrator, anybody
from classifier.models import ModelVersion
from tests.disks import filled, refusal, small_disk
from tests.photos import write_photos
from trainer import checkpoint
from trainer.models import Dataset, TrainingRun
from trainer.models.attempt import discard

EPOCHS = 6
RESUMED_SECONDS = 60.0  # after there is room again
SHORT_SECONDS = 300.0  # for anything else that must happen
DISKS = {  # folder of the data folder -> megabytes; a checkpoint has 10, and a run asks for room for several
    "": 16,  # the database, and all that has no disk of its own
    "uploads": 8,
    "datasets": 8,
    "runs": 96,
    "versions": 24,
    "logs": 8,
    "tmp": 8,
}


@dataclass
class Stage:
    """A site on small disks, and who asks it."""

    site: Installation
    folder: Path
    draw: Random
    person: Visitor
    admin: Visitor

    def expect(self, what: str, holds: bool, found: object = "") -> None:
        if not holds:
            self.site.broken.append(f"{what} {found}".strip())

    def asked(self, place: str) -> None:
        """Who needs no room is answered."""
        for name, answer in (("a prediction", self.person.predict()), ("/healthz", self.person("GET", "/healthz"))):
            self.expect(f"{place} full: {name} is answered, not", answer.status == 200, answer.brief)

    @contextlib.contextmanager
    def full(self, *places: str, leave: int = 0) -> Iterator[None]:
        """Within the block there is no room there, or next to none."""
        with contextlib.ExitStack() as stack:
            for place in places:
                stack.enter_context(filled(self.folder / place, leave_bytes=self.draw.randrange(leave + 1)))
            yield

    def begun(self, run: TrainingRun, epoch: int) -> None:
        """Wait for so many epochs of a run."""
        self.site.until(lambda: run.epochs.count() >= epoch, seconds=SHORT_SECONDS, why=f"{run} has {epoch} epochs")

    def paused(self, run: TrainingRun, why: str) -> None:
        is_paused = TrainingRun.objects.filter(pk=run.pk, status=run.Status.PAUSED).exists
        self.site.until(is_paused, seconds=SHORT_SECONDS, why=f"{why}: {run} is paused")
        run.refresh_from_db()
        self.expect(f"{why}: what {run} says:", " MB, " in run.failure and "are free" in run.failure, run.failure)

    def resumes(self, run: TrainingRun) -> float:
        """Seconds from now until it is worked on again or has ended."""
        began = time.monotonic()
        waits = TrainingRun.objects.filter(pk=run.pk, status=run.Status.PAUSED).exists
        self.site.until(lambda: not waits(), seconds=RESUMED_SECONDS, why=f"{run} goes on by itself")
        return time.monotonic() - began


def uploads(stage: Stage) -> float:
    """A zip is sent in two pieces; the disk fills before one of them."""
    data = shutil.make_archive(str(stage.folder / "sent"), "zip", stage.folder / "photos")
    whole = Path(data).read_bytes()
    middle = stage.draw.randrange(1000, len(whole) - 1000)
    address = f"/admin/trainer/dataset/upload/{uuid4()}/?offset={{}}&total={len(whole)}"
    first = stage.draw.random() < 0.5
    if not first:
        answer = stage.admin("POST", address.format(0), whole[:middle])
        stage.expect("the first piece is taken, not", answer.status == 200, answer.brief)
    offset, piece = (0, whole[:middle]) if first else (middle, whole[middle:])
    with stage.full("uploads", leave=4096):
        answer = stage.admin("POST", address.format(offset), piece)
        stage.expect("a piece without room is refused, not", answer.brief == "503 storage_full", answer.brief)
        stage.asked("uploads")
    began = time.monotonic()
    answer = stage.admin("POST", address.format(offset), piece)
    stage.expect("the piece is taken again, not", answer.status == 200, answer.brief)
    return time.monotonic() - began


def datasets(stage: Stage) -> float:
    """An import meets the full disk: it says so and leaves nothing; the same import succeeds afterwards."""
    before = set(stage.folder.glob("datasets/*"))
    with stage.full("datasets", leave=60_000):
        refused = imported(stage, Dataset.Status.FAILED)
        stage.expect("the import says:", refused.failure.startswith("The disk is full"), refused.failure)
        left = set(stage.folder.glob("datasets/*")) - before - {stage.folder / "datasets" / ".filler"}
        stage.expect("a failed import leaves", not left, sorted(left))
        stage.asked("datasets")
    began = time.monotonic()
    imported(stage, Dataset.Status.READY)
    return time.monotonic() - began


def imported(stage: Stage, status: str) -> Dataset:
    kind = Dataset.SourceKind.SERVER
    photos = stage.folder / "photos"
    row = Dataset.objects.enqueue("photos", photos, source_kind=kind, source_name="photos", options={})
    done = Dataset.objects.filter(pk=row.pk).exclude(status__in=Dataset.ACTIVE).exists
    stage.site.until(done, seconds=SHORT_SECONDS, why=f"the import of {row} ends")
    row.refresh_from_db()
    stage.expect(f"the import of {row} is", row.status == status, f"{row.status}: {row.failure}")
    return row


def checkpoints(stage: Stage) -> float:
    """The disk of the runs is full before a run begins, or after some of its epochs."""
    before = stage.draw.random() < 0.3
    with contextlib.ExitStack() as stack:
        if before:
            stack.enter_context(stage.full("runs", leave=2_000_000))
            run = stage.site.queue()
        else:
            run = stage.site.queue()
            stage.begun(run, stage.draw.randrange(1, EPOCHS - 1))
            stack.enter_context(stage.full("runs", leave=9_000_000))
        stage.paused(run, "runs full")
        stage.expect(
            "a good checkpoint is left", before or checkpoint.latest(*run.folder.glob("attempt-*")) is not None
        )
        stage.asked("runs")
        stage.site.until(lambda: True, seconds=1, why="")
    seconds = stage.resumes(run)
    stage.site.finish(run)
    return seconds


def models(stage: Stage) -> float:
    """The finished network finds no room for its version."""
    run = stage.site.queue()
    with stage.full("versions", leave=4_000_000):
        stage.paused(run, "versions full")
        stage.asked("versions")
    seconds = stage.resumes(run)
    stage.site.finish(run)
    return seconds


def database(stage: Stage) -> float:
    """SQLite has no room while a run trains: it trains on, and its epochs are stored afterwards."""
    run = stage.site.queue()
    stage.begun(run, 1)
    empty_log()
    with stage.full(""):
        time.sleep(stage.draw.uniform(3, 8))
        stage.asked("database")
        refused_to_write(stage, run)
    return ends_as_if_nothing_had_been(stage, run)


def empty_log() -> None:
    """Take from SQLite the room that its write-ahead log has already: only then does a full disk show at once."""
    with contextlib.closing(sqlite3.connect(settings.DATABASES["default"]["NAME"], timeout=20)) as file:
        file.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def refused_to_write(stage: Stage, run: TrainingRun) -> None:
    """An administrator starts runs: where pages with room are left some begin, then each is refused."""
    seen = [stage.admin("POST", f"/admin/trainer/trainingrun/{run.pk}/do/clone/").brief for _ in range(20)]
    wrong = set(seen) - {"302", "503 storage_full"}
    stage.expect("a write without room is refused, not", not wrong and seen[-1] != "302", seen)


def ends_as_if_nothing_had_been(stage: Stage, run: TrainingRun) -> float:
    """Seconds until the database takes something again."""
    began = time.monotonic()
    heard = TrainingRun.objects.filter(pk=run.pk).values_list("heartbeat_at", flat=True)
    last = heard.get()
    stage.site.until(
        lambda: heard.get() != last or ended(run), seconds=RESUMED_SECONDS, why="the database is written to again"
    )
    seconds = time.monotonic() - began
    stage.site.finish(run)
    for clone in TrainingRun.objects.filter(status__in=TrainingRun.ACTIVE):  # of an administrator who had luck
        clone.stop()
    with contextlib.closing(sqlite3.connect(settings.DATABASES["default"]["NAME"])) as file:
        said = file.execute("PRAGMA integrity_check").fetchone()[0]
    stage.expect("the database is sound:", said == "ok", said)
    return seconds


def logs(stage: Stage) -> float:
    """Nobody can write a line: requests are answered, and a run trains to its end."""
    run = stage.site.queue()
    with stage.full("logs"):
        for _ in range(20):
            stage.asked("logs")
            answer = stage.person("GET", "/nothing")
            stage.expect("logs full: a page that is not there is", answer.status == 404, answer.brief)
        stage.site.finish(run)
    return 0.0


def exports(stage: Stage) -> float:
    """The temporary folder is full: a network is exported all the same, and so are a run's figures."""
    with stage.full("tmp"):
        run = stage.site.queue()
        stage.site.finish(run)
        for name in ("epochs.csv", "run.json"):
            answer = stage.admin("GET", f"/admin/trainer/trainingrun/{run.pk}/{name}")
            stage.expect(f"temporary folder full: {name} is", answer.status == 200, answer.brief)
        stage.asked("temporary folder")
    return 0.0


def everything(stage: Stage) -> float:
    """All of them at once, as where there is only one disk."""
    run = stage.site.queue()
    stage.begun(run, stage.draw.randrange(1, EPOCHS - 1))
    empty_log()
    with stage.full(*DISKS):
        time.sleep(stage.draw.uniform(3, 8))
        stage.asked("everything")
        refused_to_write(stage, run)
    return ends_as_if_nothing_had_been(stage, run)


PLACES: dict[str, Callable[[Stage], float]] = {
    "uploads": uploads,
    "datasets": datasets,
    "checkpoints": checkpoints,
    "models": models,
    "database": database,
    "logs": logs,
    "exports": exports,
    "everything": everything,
}


def measure(options: Options) -> dict[str, Any]:
    if reason := refusal():
        return {"skipped": reason}
    with contextlib.ExitStack() as stack:
        for name, megabytes in DISKS.items():
            stack.enter_context(small_disk(options.folder / name, megabytes=megabytes))
        os.environ["SECRET_KEY"] = settings.SECRET_KEY  # its file is covered by the first disk
        site = stack.enter_context(installed(options.folder, workers=1, web=True, epochs=EPOCHS))
        stage = Stage(site, options.folder, options.random(), anybody(), administrator())
        write_photos(options.folder / "photos", count=40)
        version = site.dataset.runs.get().version
        assert version is not None
        version.activate()
        site.until(
            lambda: all(stage.person.predict().status == 200 for _ in range(10)),  # several web processes do
            seconds=SHORT_SECONDS,
            why="the version answers",
        )
        done: Counter[str] = Counter()
        slowest: dict[str, float] = {}
        for _ in range(options.size):
            for name, place in PLACES.items():
                faults = len(site.broken)
                seconds = place(stage)
                for version in ModelVersion.objects.filter(activated_at=None):  # or their disk would be full in earnest
                    discard(version)
                done[name] += len(site.broken) == faults
                slowest[name] = max(slowest.get(name, 0.0), round(seconds, 1))
                say(f"{name}: {'held' if len(site.broken) == faults else site.broken[faults:]}, {seconds:.1f} s")
        return {
            "held": f"{done.total()} of {options.size * len(PLACES)}",
            "of": dict(done),
            "slowest_to_go_on_seconds": slowest,
        } | site.figures()
