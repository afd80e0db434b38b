"""Who watches from outside: which processes train which run, and which checkpoints appear."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from glob import iglob
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import Error as DatabaseError
from django.db import connection
from django.db.models import Count
from django.utils import timezone

from tests.processes import acts, parent_of, running
from trainer.models import EpochMetric, TrainingRun
from trainer.models.jobfile import number


def checkpoints(run: TrainingRun) -> Iterator[tuple[str, str]]:
    """The folder of the attempt and the name of each, as far as they are not removed meanwhile."""
    for path in iglob("attempt-*/*.checkpoint", root_dir=run.folder):  # noqa: PTH207 - Path.glob would raise
        attempt, _, name = path.partition("/")
        yield attempt, name


def held(row: dict[str, Any]) -> bool:
    """Whether somebody works on a run, and be it without a training process: who makes its version has none."""
    if row["token"] is None or row["heartbeat_at"] is None:
        return False
    return timezone.now() - row["heartbeat_at"] < timedelta(seconds=2 * settings.HEARTBEAT_SECONDS)


@dataclass
class Seen:
    """Of one run."""

    pids: set[int] = field(default_factory=set)
    newest: str = ""  # checkpoint of all attempts, by name
    files: set[tuple[str, str]] = field(default_factory=set)  # attempt, checkpoint
    epoch: int = 0
    alone_since: float | None = None  # when nobody worked on it any more, seconds, monotonic
    longest_alone: float = 0.0  # seconds


class Witness:
    """Looks at the processes and the checkpoints of the runs it follows; every change is a line of witness.jsonl."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runs: dict[int, TrainingRun] = {}
        self.seen: dict[int, Seen] = {}
        self.lines = (folder / "witness.jsonl").open("a", buffering=1)
        self.now: dict[int, dict[int, str]] = {}
        self.overlaps = 0
        self.again = 0
        self.excused: set[int] = set()  # processes that are known to live on beside their successor

    def follow(self, run: TrainingRun) -> None:
        self.runs[run.pk] = run
        seen = self.seen.setdefault(run.pk, Seen())
        seen.files = set(checkpoints(run))

    def look(self) -> None:
        """Note what has changed."""
        trainers = self.now = self.trainers()
        rows = self.rows()
        now = time.monotonic()
        for pk, run in list(self.runs.items()):
            seen, alive = self.seen[pk], trainers.get(pk, {})
            for pid in alive.keys() - seen.pids:
                seen.pids.add(pid)
                self.note(pk, "process", pid=pid, attempt=alive[pid], token=rows[pk]["token"] if pk in rows else None)
            rivals = [pid for pid in alive.keys() - self.excused if acts(pid)]
            if len(rivals) > 1:
                self.overlaps += 1
                self.note(pk, "overlap", pids=rivals)
            self.checkpoints(run, seen)
            row = rows.get(pk)
            if row is not None and row["epoch"] != seen.epoch:
                seen.epoch = row["epoch"]
                self.note(pk, "epoch", **row)
            if row is not None and (alive or row["status"] not in TrainingRun.ACTIVE or held(row)):
                seen.alone_since = None
            elif row is not None:
                seen.alone_since = seen.alone_since or now
                seen.longest_alone = max(seen.longest_alone, now - seen.alone_since)
            if row is not None and row["status"] not in TrainingRun.ACTIVE and not alive:
                self.note(pk, "ended", **row)
                del self.runs[pk]

    def checkpoints(self, run: TrainingRun, seen: Seen) -> None:
        """A new attempt goes on after the newest checkpoint: none that it writes is as old as that."""
        new = set(checkpoints(run)) - seen.files
        for attempt, name in sorted(new, key=lambda file: (number(Path(file[0])), file[1])):
            seen.files.add((attempt, name))
            if name <= seen.newest and not self.excused:
                self.again += 1
                self.note(run.pk, "again", file=f"{attempt}/{name}", newest=seen.newest)
            seen.newest = max(seen.newest, name)

    def trainers(self) -> dict[int, dict[int, str]]:
        """run -> the live processes that train it or make its version, each with its attempt."""
        found: dict[int, dict[int, str]] = {}
        mark = str(self.folder / "runs").encode()
        for place in Path("/proc").glob("[0-9]*"):
            try:
                words, parent = (place / "cmdline").read_bytes(), parent_of(int(place.name))
                if b"trainer.process" not in words or mark not in words or not running(int(place.name)):
                    continue
                if (Path("/proc") / str(parent) / "cmdline").read_bytes() == words:
                    continue  # a program that a training has just started bears its name until it has begun
            except OSError:  # it has ended
                continue
            job = Path(words.rstrip(b"\0").rpartition(b"\0")[2].decode())
            found.setdefault(int(job.parent.parent.name), {})[int(place.name)] = job.parent.name
        return found

    def alive(self, run: TrainingRun) -> dict[int, str]:
        """The processes of one run, as of the last look, each with its attempt."""
        return self.now.get(run.pk, {})

    def publishes(self, pid: int) -> bool:
        """Whether the process only makes a version of the best epoch."""
        try:
            return (Path("/proc") / str(pid) / "cmdline").read_bytes().rstrip(b"\0").endswith(b"publish.json")
        except OSError:
            return True  # it has ended

    def rows(self) -> dict[int, dict[str, Any]]:
        """What the database says of the runs; nothing while it does not answer."""
        followed = TrainingRun.objects.filter(pk__in=self.runs)
        try:
            return {
                row["pk"]: row | {"token": row["token"] and str(row["token"])}
                for row in followed.annotate(epoch=Count("epochs")).values(
                    "pk", "status", "token", "heartbeat_at", "attempt", "deaths", "epoch"
                )
            }
        except DatabaseError:
            connection.close()
            return {}

    def note(self, run: int, event: str, **facts: Any) -> None:
        facts = {name: fact for name, fact in facts.items() if name not in ("pk", "heartbeat_at")}
        self.lines.write(json.dumps({"at": round(time.time(), 3), "run": run, "event": event, **facts}) + "\n")

    def figures(self) -> dict[str, Any]:
        doubled = EpochMetric.objects.values("run", "number").annotate(rows=Count("pk")).filter(rows__gt=1).count()
        return {
            "runs": len(self.seen),
            "trainings_started": sum(len(seen.pids) for seen in self.seen.values()),
            "overlapping_owners": self.overlaps,
            "checkpoints_written_again": self.again,
            "epochs_stored_twice": doubled,
            "longest_without_worker_seconds": round(max(seen.longest_alone for seen in self.seen.values()), 1),
        }
