"""The site of one measurement: its processes, started again when they die, and its runs, compared with a calm one."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from typing import Any
from unittest import mock

from django.conf import settings
from django.core.management import call_command
from django.db import connection

from benchmarks.chaos.part import say
from benchmarks.chaos.witness import Witness
from benchmarks.site import ROOT
from breedsite import up, valkey
from breedsite.tether import die_with
from tests.processes import running
from tests.squares import make_dataset, make_run
from trainer.models import Dataset, TrainingRun

RESTART_SECONDS = 0.5  # after a death; systemd's default is 0.1, the launcher's first pause 1
LOOK_SECONDS = 0.05
SOON, SOON_SECONDS = 0.25, 3.0  # this share of the random moments comes so soon after the one before
GRACE_SECONDS = 30.0  # beyond the lease and a start of the site: a run must be worked on again or have ended by then
LONGEST_RUN_SECONDS = 900.0  # whatever is done to it
LAST_LINES = 120  # of each log, where something did not hold
CALM = ("number", "loss", "accuracy", "validation_loss", "validation_top1", "learning_rate", "skipped_steps", "trail")


@dataclass
class Service:
    """A process that somebody starts again whenever it ends."""

    name: str
    command: Sequence[str]
    log: Path
    process: subprocess.Popen[bytes] | None = None
    due: float = 0.0  # when to start it, seconds, monotonic
    wanted: bool = True
    starts: int = 0

    def tend(self) -> None:
        if self.process is not None and self.process.poll() is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)  # what it left of its group, as the launcher does
            self.process, self.due = None, time.monotonic() + RESTART_SECONDS
        if self.process is None and self.wanted and time.monotonic() > self.due:
            with self.log.open("ab") as out:
                self.process = subprocess.Popen(
                    self.command,
                    cwd=ROOT,
                    env=os.environ | {"BREEDSITE_CRASH": str(self.log.parent.parent / "crash")},
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=out,
                    process_group=0,
                    preexec_fn=partial(die_with, os.getpid()),  # safe: this process has one thread
                )
            self.starts += 1

    @property
    def pid(self) -> int | None:
        return self.process.pid if self.process is not None and self.process.poll() is None else None


@dataclass
class Outcome:
    """What an undisturbed run ended with, and every other must."""

    weights: str  # sha256 of all tensors
    epochs: list[tuple[Any, ...]]


@dataclass
class Installation:
    """Its services and what is seen of them. Everything happens in one thread: `turn` again and again."""

    services: dict[str, Service]
    dataset: Dataset
    recipe: dict[str, Any]
    witness: Witness
    calm: Outcome | None = None
    calm_seconds: float = 0.0  # how long the calm run took
    start_seconds: float = 0.0  # of that, until the first training process ran: what a start of the site takes here
    broken: list[str] = field(default_factory=list)  # what did not hold, in words

    def turn(self) -> None:
        """Start again who died, and look at what runs."""
        for service in self.services.values():
            service.tend()
        self.witness.look()
        time.sleep(LOOK_SECONDS)

    def until(self, what: Any, *, seconds: float, why: str) -> bool:
        """Whether `what()` became true within that time."""
        end = time.monotonic() + seconds
        while not what():
            if time.monotonic() > end:
                self.broken.append(f"{why}: not within {seconds:.0f} s")
                return False
            self.turn()
        return True

    def random_while(self, run: TrainingRun, draw: Random) -> None:
        """Until some moment of its training, or, less often, until one in which it may not be trained again yet."""
        soon = draw.random() < SOON
        left = draw.uniform(0.0, SOON_SECONDS if soon else self.calm_seconds / 3)
        while left > 0 and not ended(run):
            before = time.monotonic()
            self.turn()
            if soon or self.witness.alive(run):
                left -= time.monotonic() - before

    def queue(self, **changes: Any) -> TrainingRun:
        """A run of the recipe. Nobody rings for it: the reconciler has to find it."""
        with mock.patch.object(TrainingRun, "ring"):
            run = make_run(self.dataset, **(self.recipe | changes))
        self.witness.follow(run)
        return run

    def finish(self, run: TrainingRun) -> None:
        """Wait for the end of a run, and compare it with the calm one."""
        self.until(lambda: ended(run), seconds=LONGEST_RUN_SECONDS, why=f"{run} ends")
        self.compare(run)

    def compare(self, run: TrainingRun) -> None:
        """Note what differs from the calm run, which is the first that finishes."""
        run.refresh_from_db()
        if run.status != run.Status.FINISHED or run.version is None:
            self.broken.append(f"{run} is {run.status} at epoch {run.epochs.count()}: {run.failure}")
            return
        numbers = list(run.epochs.values_list("number", flat=True))
        if numbers != list(range(1, run.recipe["epochs"] + 1)):
            self.broken.append(f"{run} has the epochs {numbers}")
        found = Outcome(run.version.card.files["weights.safetensors"].sha256, list(run.epochs.values_list(*CALM)))
        if self.calm is None:
            self.calm = found
        if found.weights != self.calm.weights:
            self.broken.append(f"{run} ended with other weights than the calm run")
        if found.epochs != self.calm.epochs:
            self.broken.append(f"{run} has other epochs than the calm run")
        self.until(
            lambda: not list(run.folder.glob("attempt-*")),
            seconds=GRACE_SECONDS,
            why=f"{run} leaves no checkpoints behind",
        )

    def tell_last_words(self) -> None:
        """What was seen, and the end of each log: the folder is gone before anybody can look into it."""
        for file in (*(service.log for service in self.services.values()), Path(self.witness.lines.name)):
            say(f"--- {file.name}\n{''.join(file.open(errors='replace').readlines()[-LAST_LINES:])}")

    def workers(self) -> list[Service]:
        return [service for name, service in self.services.items() if name.startswith("worker")]

    def figures(self) -> dict[str, Any]:
        """What was seen, and what did not hold."""
        left = [path for path in Path(os.environ["TMPDIR"]).rglob("*") if path.is_file() and path.stat().st_size]
        if left:  # empty folders are what Python and torch leave when they are killed
            self.broken.append(f"left in the temporary folder: {', '.join(sorted(file.name for file in left)[:9])}")
        seen = self.witness.figures()
        limit = settings.LEASE_SECONDS + GRACE_SECONDS + self.start_seconds
        for name in ("overlapping_owners", "checkpoints_written_again", "epochs_stored_twice"):
            if seen[name]:
                self.broken.append(f"{name}: {seen[name]}")
        if seen["longest_without_worker_seconds"] > limit:
            self.broken.append(f"nobody worked on a run for {seen['longest_without_worker_seconds']:.0f} s")
        if self.broken:
            self.tell_last_words()
        seen["start_of_the_site_seconds"] = round(self.start_seconds, 1)
        return seen | {"starts": {name: one.starts for name, one in self.services.items()}, "broken": self.broken}


def ended(run: TrainingRun) -> bool:
    """Whether nothing will be done with it any more."""
    return TrainingRun.objects.filter(pk=run.pk).exclude(status__in=TrainingRun.ACTIVE).exists()


def children(parent: int) -> list[int]:
    """Its live child processes."""
    try:
        listed = Path(f"/proc/{parent}/task/{parent}/children").read_text()
    except OSError:  # it has ended
        return []
    return [int(child) for child in listed.split() if running(int(child))]


@contextlib.contextmanager
def installed(
    folder: Path, *, workers: int = 2, web: bool = False, photos: int = 10, **recipe: Any
) -> Iterator[Installation]:
    """A site on the settings of this process: `photos` of each of three labels, one slot a worker. A calm run of the
    recipe is done first."""
    call_command("migrate", verbosity=0)
    python = sys.executable
    logs = folder / "logs"
    logs.mkdir(exist_ok=True)
    for name in ("valkey", "crash"):
        (folder / name).mkdir()
    broker = valkey.command(valkey.find_server(), settings.VALKEY_SOCKET, folder / "valkey")
    commands: dict[str, Sequence[str]] = {"broker": broker}
    commands |= {f"worker{number}": (python, *up.worker(2)) for number in range(1, workers + 1)}
    commands |= {"web": (python, "-m", "breedsite.server")} if web else {}
    services = {name: Service(name, command, logs / f"{name}.txt") for name, command in commands.items()}
    witness = Witness(folder)
    site = Installation(services, make_dataset(count=photos), recipe, witness)
    try:
        began = time.monotonic()
        run = site.queue()
        site.until(lambda: witness.alive(run), seconds=300, why=f"{run} begins")
        site.start_seconds = time.monotonic() - began
        site.finish(run)
        if site.calm is None:
            raise RuntimeError(f"No calm run: {site.broken}; see {logs}")
        site.calm_seconds = time.monotonic() - began
        say(f"The calm run took {site.calm_seconds:.0f} s.")
        yield site
    finally:
        for service in services.values():
            service.wanted = False
            if service.pid:
                os.killpg(service.pid, signal.SIGTERM)
        end = time.monotonic() + 15
        while any(service.pid for service in services.values()) and time.monotonic() < end:
            time.sleep(LOOK_SECONDS)
        for service in services.values():
            service.tend()
            if service.pid:
                os.killpg(service.pid, signal.SIGKILL)
        connection.close()
