"""SIGSTOP of whoever holds a run, for longer than the lease: another takes over, and the first one, awake again, ends
its training and publishes nothing.
"""

import os
import signal
from time import monotonic
from typing import Any

from benchmarks.chaos.installation import Installation, children, installed
from benchmarks.chaos.part import Options, say
from classifier.models import ModelVersion
from tests.processes import running
from trainer.models import TrainingRun

EPOCHS = 12
NOTICE_SECONDS = 30.0  # awake again, until the old training is gone


def measure(options: Options) -> dict[str, Any]:
    draw, slowest, done = options.random(), 0.0, 0
    with installed(options.folder, photos=options.photos, epochs=EPOCHS) as site:
        while done < options.size and not site.broken:
            run = site.queue()
            site.until(lambda run=run: site.witness.alive(run), seconds=120, why=f"{run} begins")
            site.random_while(run, draw)
            whole = draw.random() < 0.5  # the training as well, or only the process that supervises it
            seconds = freeze(site, run, whole=whole)
            if seconds is not None:
                done, slowest = done + 1, max(slowest, seconds)
            site.finish(run)
            say(f"{done} freezes; {run} is {run.status}")
        versions, runs = ModelVersion.objects.count(), len(site.witness.seen)
        if versions != runs:
            site.broken.append(f"{versions} versions came of {runs} runs")
        return {"freezes": done, "slowest_notice_seconds": round(slowest, 1)} | site.figures()


def freeze(site: Installation, run: TrainingRun, *, whole: bool) -> float | None:
    """Stop its processes until another attempt trains, then let them go on. How long the old ones then took to go;
    None where the run was quicker."""
    trainers = site.witness.alive(run)
    holder = next(
        (child for one in site.workers() for child in pool(one.pid) if set(children(child)) & set(trainers)), 0
    )
    if not holder:
        return None
    frozen = [holder, *trainers] if whole else [holder]
    site.witness.excused |= set(trainers)
    for pid in frozen:
        os.kill(pid, signal.SIGSTOP)
    attempt = TrainingRun.objects.values_list("attempt", flat=True).get(pk=run.pk)
    site.until(lambda: attempts(run) > attempt, seconds=60, why=f"{run} is taken over")
    site.until(lambda: set(site.witness.alive(run)) - set(trainers), seconds=60, why=f"{run} trains on")
    began = monotonic()
    for pid in frozen:
        os.kill(pid, signal.SIGCONT)
    site.until(lambda: not any(map(running, trainers)), seconds=NOTICE_SECONDS, why="the old training ends")
    return monotonic() - began


def pool(parent: int | None) -> list[int]:
    return children(parent) if parent else []


def attempts(run: TrainingRun) -> int:
    return TrainingRun.objects.values_list("attempt", flat=True).get(pk=run.pk)
