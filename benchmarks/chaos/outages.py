"""The broker is killed and stays away, then the database, while a run trains and visitors ask.

On a PostgreSQL cluster of its own, with the site's usual lease and pauses, so that the seconds are those of real life.
Meanwhile a run is accepted, photos are answered, pages that need the database say 503; afterwards the worker consumes
again, and every run has the epochs and the weights of the calm one.
"""

import contextlib
import itertools
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.db import connection

from benchmarks.chaos.installation import Installation, installed
from benchmarks.chaos.part import Options, say
from benchmarks.chaos.visitor import Visitor, administrator, anybody
from benchmarks.site import ROOT, free_port
from trainer.models import TrainingRun

EPOCHS = 12
AWAY_SECONDS = 20.0  # of the database, at least, and until the training is two checkpoints further
BACK_SECONDS = 60.0
SENTENCE = b"The queue is unreachable; the run will start by itself."
USUAL = {"LEASE_SECONDS": "75", "HEARTBEAT_SECONDS": "15", "RECONCILE_SECONDS": "30"}
OUR_OWN = "CHAOS_CLUSTER"  # in the environment of the process that has one


@dataclass
class Cluster:
    """A PostgreSQL server in a folder."""

    programs: Path
    folder: Path
    port: int

    @property
    def url(self) -> str:
        return f"postgres://postgres@127.0.0.1:{self.port}/postgres"

    def call(self, program: str, *words: str) -> None:
        command = [str(self.programs / program), "-D", str(self.folder), *words]
        if os.getuid() == 0:  # the server refuses to run as root
            command = ["runuser", "-u", "postgres", "--", *command]
        quiet = self.folder.parent / "postgresql.txt"
        with quiet.open("ab") as out:
            subprocess.run(command, check=True, stdout=out, stderr=out, cwd="/")

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c max_connections=60"
        self.call("pg_ctl", "-w", "-o", options, "start")

    def stop(self) -> None:
        self.call("pg_ctl", "-m", "immediate", "stop")

    def kill(self) -> None:
        """-9 to the first process; the others notice, and end."""
        os.kill(int((self.folder / "postmaster.pid").read_text().split()[0]), signal.SIGKILL)


@contextlib.contextmanager
def cluster(folder: Path) -> Iterator[Cluster]:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    program = found[-1] if found else Path(shutil.which("initdb") or "initdb")
    folder.mkdir()
    if os.getuid() == 0:
        user = pwd.getpwnam("postgres")
        os.chown(folder, user.pw_uid, user.pw_gid)
        folder.parent.chmod(0o755)
    server = Cluster(program.parent, folder, free_port())
    server.call("initdb", "-U", "postgres", "-A", "trust", "-N")
    server.start()
    try:
        yield server
    finally:
        with contextlib.suppress(subprocess.CalledProcessError):
            server.stop()


@dataclass
class Seen:
    """Answers to a visitor and to an administrator while something was away."""

    photos: Counter[str] = field(default_factory=Counter)
    pages: Counter[str] = field(default_factory=Counter)


@dataclass
class Stage:
    site: Installation
    server: Cluster
    person: Visitor
    admin: Visitor
    seen: Seen = field(default_factory=Seen)

    def ask(self, page: str = "/admin/trainer/trainingrun/") -> None:
        """One photo, one page that needs the database."""
        for who, count, ask in (
            ("photo", self.seen.photos, self.person.predict),
            ("page", self.seen.pages, lambda: self.admin("GET", page)),
        ):
            try:
                count[ask().brief] += 1
            except OSError as error:
                count[f"{who}: {type(error).__name__}"] += 1

    def expect(self, what: str, holds: bool, found: object = "") -> None:
        if not holds:
            self.site.broken.append(f"{what} {found}".strip())

    def until(self, what: Callable[[], bool], seconds: float, why: str) -> float:
        began = time.monotonic()
        self.site.until(what, seconds=seconds, why=why)
        return time.monotonic() - began


def broker_away(stage: Stage, number: int) -> float:
    """Killed with or without a file of what is queued; a run is started meanwhile. Seconds until it is worked on."""
    site, broker = stage.site, stage.site.services["broker"]
    broker.command = [*broker.command[:1], *broker.command[1:], "--appendonly", "yes" if number % 2 else "no"]
    broker.wanted = False
    assert broker.pid is not None
    os.kill(broker.pid, signal.SIGKILL)
    site.until(lambda: broker.pid is None, seconds=5, why="the broker dies")
    calm = site.dataset.runs.earliest("pk")
    answer = stage.admin("POST", f"/admin/trainer/trainingrun/{calm.pk}/do/clone/")
    stage.expect("a run is accepted while the broker is away, not", answer.status == 302, answer.brief)
    run = site.dataset.runs.latest("pk")
    site.witness.follow(run)
    end = time.monotonic() + (2, 8, 15)[number % 3]
    while time.monotonic() < end:
        stage.ask(f"/admin/trainer/trainingrun/{run.pk}/change/")
        site.turn()
    for page in (f"/admin/trainer/trainingrun/{run.pk}/change/", "/admin/trainer/trainingrun/"):
        said = SENTENCE in stage.admin("GET", page).body
        stage.expect(f"{page} says that the queue is unreachable", said or run.place is None)
    broker.wanted = True
    begun = TrainingRun.objects.filter(pk=run.pk).exclude(status=run.Status.QUEUED).exists
    seconds = stage.until(begun, BACK_SECONDS, f"{run} begins after the broker is back")
    site.finish(run)
    return seconds


def database_away(stage: Stage, number: int) -> float:
    """Stopped, or killed with -9, while a run trains. Seconds from its return until the run is heard of again."""
    site = stage.site
    run = site.queue()
    site.until(lambda: run.epochs.count() >= 2, seconds=300, why=f"{run} has two epochs")
    before = site.witness.trainers().get(run.pk, {})
    newest, stored = checkpoints(run), run.epochs.count()
    (stage.server.kill if number % 2 else stage.server.stop)()
    time.sleep(0.5)
    end = time.monotonic() + AWAY_SECONDS
    while time.monotonic() < end or (len(checkpoints(run) - newest) < 2 and time.monotonic() < end + 100):
        stage.ask()
        time.sleep(0.1)
    further = len(checkpoints(run) - newest)
    stage.expect("the training goes on without a database:", further > 0, further)
    stage.expect("it is the same process", site.witness.trainers().get(run.pk, {}) == before)
    stage.server.start()
    connection.close()  # our own was cut as well
    seconds = stage.until(lambda: run.epochs.count() > stored, BACK_SECONDS, f"{run} stores its epochs")
    site.finish(run)
    stage.expect("it needed one attempt:", run.attempt == 1, run.attempt)
    for page in ("/admin/", "/admin/trainer/trainingrun/", f"/admin/trainer/trainingrun/{run.pk}/state/"):
        for _ in range(5):
            answer = stage.admin("GET", page)
            stage.expect(f"{page} afterwards is", answer.status == 200, answer.brief)
    return seconds


def checkpoints(run: TrainingRun) -> set[str]:
    return {file.name for file in run.folder.glob("attempt-*/*.checkpoint")}


def measure(options: Options) -> dict[str, Any]:
    if OUR_OWN not in os.environ:
        return on_a_cluster(options)
    folder, port = json.loads(os.environ[OUR_OWN])
    server = Cluster(Path(folder[0]), Path(folder[1]), port)
    with installed(options.folder, workers=1, web=True, photos=options.photos, epochs=EPOCHS) as site:
        stage = Stage(site, server, anybody(), administrator())
        version = site.dataset.runs.get().version
        assert version is not None
        version.activate()
        stage.until(lambda: stage.person.predict().status == 200, 60, "the version answers")
        figures: dict[str, Any] = {}
        for name, away in (("broker", broker_away), ("database", database_away)):
            stage.seen, slowest = Seen(), 0.0
            for number in itertools.islice(itertools.count(), options.size):
                seconds = away(stage, number)
                slowest = max(slowest, seconds)
                say(f"{name} {number + 1}: {seconds:.1f} s; {site.broken or 'held'}")
            stage.expect(f"{name} away: photos are answered:", set(stage.seen.photos) == {"200"}, stage.seen.photos)
            wrong = [brief for brief in stage.seen.pages if not brief.startswith(("200", "503"))]
            stage.expect(f"{name} away: pages are", not wrong, wrong)
            figures[name] = {
                "outages": options.size,
                "slowest_back_seconds": round(slowest, 1),
                "photos_meanwhile": dict(stage.seen.photos),
                "pages_meanwhile": dict(stage.seen.pages),
            }
        return figures | site.figures()


def on_a_cluster(options: Options) -> dict[str, Any]:
    """The same in a process whose settings name a cluster of its own."""
    with cluster(options.folder / "postgresql") as server:
        data = options.folder / "site"
        (data / "tmp").mkdir(parents=True)
        mark = json.dumps([[str(server.programs), str(server.folder)], server.port])
        values = os.environ | USUAL | {OUR_OWN: mark, "DATABASE_URL": server.url}
        values |= {"DATA_DIR": str(data), "TMPDIR": str(data / "tmp")}
        command = [sys.executable, "-m", "benchmarks.chaos.part", "outages"]
        command += [str(one) for one in (options.size, options.seed, options.photos, data)]
        done = subprocess.run(command, cwd=ROOT, env=values, stdout=subprocess.PIPE, text=True)
        if done.returncode:
            raise SystemExit(f"The outages could not be measured (exit code {done.returncode}).")
        return dict(json.loads(done.stdout))
