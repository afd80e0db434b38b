"""Many start the same few runs at the same moment, and many claim them: each is started once and claimed once."""

import json
import subprocess
import sys
import threading
import uuid
from typing import Any
from unittest import mock

from django.core.management import call_command
from django.db import connection

from benchmarks.chaos.part import Options
from benchmarks.site import ROOT
from tests.squares import make_dataset
from trainer.models import TrainingRun

RUNS, PROCESSES = 10, 8
THREADS = {"sqlite": 25, "postgresql": 5}  # of each process; a PostgreSQL allows 100 connections unless told otherwise
ONE = "import django; django.setup(); from benchmarks.chaos.starts import one; one()"


def measure(options: Options) -> dict[str, Any]:
    call_command("migrate", verbosity=0)
    dataset = make_dataset(count=3)
    keys = [str(uuid.uuid4()) for _ in range(RUNS)]
    share = -(-options.size // PROCESSES)  # of each process
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", ONE, str(dataset.pk), str(number), str(share), *keys],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(PROCESSES)
    ]
    told = {}
    for question in ("start", "claim"):
        for process in processes:
            assert process.stdin is not None and process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            process.stdin.write("go\n")  # type: ignore[union-attr]
            process.stdin.flush()  # type: ignore[union-attr]
        told[question] = [one for process in processes for one in json.loads(process.stdout.readline())]  # type: ignore[union-attr]
    codes = [process.wait(60) for process in processes]
    started, claimed = set(told["start"]), [one for one in told["claim"] if one]
    broken = [f"a process ended with {code}" for code in codes if code]
    for question, answers in told.items():
        if len(answers) != share * PROCESSES:
            broken.append(f"{len(answers)} answers to {question}, not {share * PROCESSES}")
    if len(started) != RUNS or TrainingRun.objects.count() != RUNS:
        broken.append(f"{TrainingRun.objects.count()} runs were started, not {RUNS}")
    if sorted(claimed) != sorted(started) or set(TrainingRun.objects.values_list("attempt", flat=True)) != {1}:
        broken.append(f"{len(claimed)} claims of {len(set(claimed))} runs")
    return {
        "starts": len(told["start"]),
        "runs": TrainingRun.objects.count(),
        "claims_tried": len(told["claim"]),
        "claims": len(claimed),
        "broken": broken,
    }


def one() -> None:
    """A process of `measure`: its threads start runs, then claim some, when somebody says go."""
    dataset, number, share, *keys = sys.argv[1:]
    threads = min(THREADS[connection.vendor], int(share))
    found: list[int | None] = []

    def at_once(what: Any) -> None:
        found.clear()
        barrier = threading.Barrier(threads + 1)

        def do(first: int) -> None:
            try:
                connection.ensure_connection()
                barrier.wait()
                for index in range(first, int(share), threads):
                    run = what(index)
                    found.append(run.pk if run else None)
            finally:
                connection.close()

        those = [threading.Thread(target=do, args=(index,)) for index in range(threads)]
        for thread in those:
            thread.start()
        print("ready", flush=True)
        sys.stdin.readline()
        barrier.wait()
        for thread in those:
            thread.join()
        print(json.dumps(found), flush=True)

    with mock.patch.object(TrainingRun, "ring"):
        at_once(lambda index: start(int(dataset), keys[index % len(keys)]))
        at_once(lambda index: TrainingRun.objects.claim_next(device=f"place {number} {index}"))


def start(dataset: int, key: str) -> TrainingRun:
    from tests.trainings import RECIPE
    from trainer.models import Dataset
    from trainer.recipe import Recipe

    owner = Dataset.objects.get(pk=dataset)
    return TrainingRun.objects.start(owner, Recipe.from_dict(RECIPE), name="squares", key=uuid.UUID(key))
