"""SQLite under eight writers, a slow reader and kill -9: does anybody wait for long, fail, or lose a row?

    python -m benchmarks.database [--processes 8] [--transactions 5000] [--reader 5] [--kills 100]

Every process stores epochs of a run of its own as fast as it can: one transaction reads what is there, counts it in
the run's row and adds a row of metrics. The reader begins to read all metrics and takes `--reader` seconds for it,
again and again. Then processes are killed at random moments; what each run's row counts must be what its metrics are.
"""

import argparse
import json
import multiprocessing
import os
import random
import sqlite3
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from benchmarks.client import percentile
from breedsite.tether import die_with

TRAIL = [[step, 0.1 / (1 + step), 2.0 / (1 + step)] for step in range(50)]
FORK = multiprocessing.get_context("fork")  # of a parent that has loaded Django and holds no connection


def prepare(folder: Path, runs: int) -> Path:
    """A new site in `folder` with so many runs; the file of its database."""
    os.environ |= {"DATA_DIR": str(folder), "DJANGO_SETTINGS_MODULE": "breedsite.settings"}
    os.environ.pop("DATABASE_URL", None)
    import django

    django.setup()
    from django.conf import settings
    from django.core.management import call_command
    from django.db import connections

    from trainer.models import Dataset, TrainingRun
    from trainer.recipe import Recipe

    call_command("migrate", verbosity=0)
    dataset = Dataset.objects.create(name="dogs", number=1, status="ready")
    for number in range(runs):
        TrainingRun.objects.create(dataset=dataset, name=f"run-{number}", recipe=Recipe().as_dict())
    connections.close_all()
    return Path(settings.DATABASES["default"]["NAME"])


def write(parent: int, run: int, transactions: int, told: Any) -> None:
    """Store so many epochs; `told` gets the seconds that each waited for its turn, and the failures."""
    die_with(parent)
    from django.db import DatabaseError, connection, transaction
    from django.db.models import F, Max
    from django.utils import timezone

    from trainer.models import EpochMetric, TrainingRun

    waits: list[float] = []
    failures: list[str] = []
    for _ in range(transactions):
        began = time.monotonic()
        try:
            with transaction.atomic():
                waits.append(time.monotonic() - began)
                last = EpochMetric.objects.filter(run=run).aggregate(last=Max("number"))["last"] or 0
                TrainingRun.objects.filter(pk=run).update(
                    progress_done=F("progress_done") + 1, heartbeat_at=timezone.now()
                )
                values = {"loss": 1.0, "learning_rate": 0.1, "seconds": 1.0, "images_per_second": 9.0}
                EpochMetric.objects.create(run_id=run, number=last + 1, trail=TRAIL, **values)
        except DatabaseError as error:
            failures.append(str(error))
    connection.close()
    told.put((waits, failures))


def read(parent: int, file: Path, seconds: float, over: Any) -> None:
    """Read all metrics, slowly, until it is over."""
    die_with(parent)
    with closing(sqlite3.connect(file)) as connection:
        while not over.is_set():
            cursor = connection.execute("SELECT * FROM trainer_epochmetric")
            end = time.monotonic() + seconds
            while time.monotonic() < end and not over.is_set() and cursor.fetchone():
                over.wait(0.05)
            cursor.close()
            over.wait(0.1)


def child(do: Callable[..., None], *arguments: Any) -> Any:
    """A process that does it, and does not outlive this one."""
    return FORK.Process(target=do, args=(os.getpid(), *arguments), daemon=True)


def crowd(file: Path, runs: list[int], *, transactions: int, reader_seconds: float) -> dict[str, Any]:
    over, told = FORK.Event(), FORK.Queue()
    reader = child(read, file, reader_seconds, over)
    writers = [child(write, run, transactions, told) for run in runs]
    log = file.with_name(f"{file.name}-wal")
    largest = 0
    with closing(sqlite3.connect(file)) as idle:  # as the web process holds one
        idle.execute("SELECT count(*) FROM trainer_trainingrun").fetchone()
        began = time.monotonic()
        for process in (reader, *writers):
            process.start()
        said = []
        while len(said) < len(writers):
            if not told.empty():
                said.append(told.get())
            elif fallen := [process.exitcode for process in writers if process.exitcode]:
                raise RuntimeError(f"A writer has ended with {fallen[0]}.")
            largest = max(largest, log.stat().st_size if log.exists() else 0)
            time.sleep(0.02)
        seconds = time.monotonic() - began
        for process in writers:
            process.join()
        over.set()
        reader.join()
        child(write, runs[0], 2, told).start()  # one writes the log back, one begins it anew
        told.get(timeout=60)
        after = log.stat().st_size
    waits = [wait for some, _ in said for wait in some]
    return {
        "transactions": len(waits),
        "failures": sum(len(failures) for _, failures in said),
        "per_second": len(waits) / seconds,
        "wait_ms": {name: 1000 * percentile(waits, share) for name, share in (("p50", 0.5), ("p99", 0.99))}
        | {"worst": 1000 * max(waits)},
        "waits_above_1_s": sum(wait > 1 for wait in waits),
        "log_mib_largest": largest / 1024**2,
        "log_mib_afterwards": after / 1024**2,
    }


def kill(file: Path, runs: list[int], kills: int) -> dict[str, Any]:
    """Kill writers at random moments, one after the other, each followed by another one."""
    draw = random.Random(0)
    told = FORK.Queue()

    def start(run: int) -> Any:
        process = child(write, run, 10**9, told)
        process.start()
        return process

    writers = {run: start(run) for run in runs}
    for _ in range(kills):
        time.sleep(draw.uniform(0.05, 0.5))
        run = draw.choice(runs)
        writers[run].kill()
        writers[run].join()
        writers[run] = start(run)
    for process in writers.values():
        process.kill()
        process.join()
    with closing(sqlite3.connect(file)) as connection:
        check = connection.execute("PRAGMA integrity_check").fetchone()[0]
        partial = connection.execute(
            "SELECT count(*) FROM trainer_trainingrun r WHERE progress_done <> "
            "(SELECT count(*) FROM trainer_epochmetric e WHERE e.run_id = r.id)"
        ).fetchone()[0]
        stored = connection.execute("SELECT count(*) FROM trainer_epochmetric").fetchone()[0]
    return {"kills": kills + len(runs), "integrity_check": check, "runs_with_part_of_a_row": partial, "rows": stored}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--transactions", type=int, default=5000, help="of each process")
    parser.add_argument("--reader", type=float, default=5.0, help="seconds that one reading takes")
    parser.add_argument("--kills", type=int, default=100)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        file = prepare(Path(folder), options.processes)
        runs = list(range(1, options.processes + 1))
        figures = crowd(file, runs, transactions=options.transactions, reader_seconds=options.reader)
        figures |= {"killed": kill(file, runs, options.kills), "load_of_the_machine": os.getloadavg()[0]}
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
