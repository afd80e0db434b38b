"""A run is stopped by a person at a random moment: while it waits, starts, trains, or publishes, and a moment before or
after its worker is killed. It trains no more within ten seconds, is never stuck between stopping and stopped, and
its best epoch, if it has one, becomes a version.
"""

import os
import signal
from random import Random
from time import monotonic
from typing import Any

from django.conf import settings

from benchmarks.chaos.installation import GRACE_SECONDS, Installation, children, ended, installed
from benchmarks.chaos.part import Options, say
from trainer.models import TrainingRun

EPOCHS = 12
GOAL_SECONDS = 10.0
ENDS = ("stopped", "finished")  # finished: it was quicker


def measure(options: Options) -> dict[str, Any]:
    draw = options.random()
    quiet: list[float] = []
    settled: list[float] = []
    found = dict.fromkeys((*ENDS, "never_started", "with_a_version", "resumed_to_the_same_bits"), 0)
    with installed(options.folder, photos=options.photos, epochs=EPOCHS) as site:
        for number in range(1, options.size + 1):
            run = site.queue()
            if draw.random() < 0.9:  # else before anybody has claimed it
                site.random_while(run, draw)
            kills = draw.random() < 0.2
            if kills and draw.random() < 0.5:
                kill_supervisor(site, run)
            asked = run_of(run).stop()
            if kills:
                kill_supervisor(site, run)
            began = monotonic()
            if not asked and run_of(run).status not in ENDS:
                site.broken.append(f"{run} could not be stopped while it was {run_of(run).status}")
            site.until(lambda run=run: not training(site, run), seconds=30, why=f"{run} trains no more")
            quiet.append(monotonic() - began)
            limit = 4 * (settings.LEASE_SECONDS + GRACE_SECONDS)
            site.until(lambda run=run: ended(run), seconds=limit, why=f"{run} is stopped")
            settled.append(monotonic() - began)
            judge(site, run_of(run), found, draw)
            say(f"{number} stops: {found}")
        if max(quiet) > GOAL_SECONDS:
            site.broken.append(f"a training went on for {max(quiet):.1f} s")
        slowest = {
            "slowest_until_it_trains_no_more_seconds": max(quiet),
            "slowest_until_it_is_stopped_seconds": max(settled),
        }
        return {"stops": options.size} | found | {name: round(one, 1) for name, one in slowest.items()} | site.figures()


def judge(site: Installation, run: TrainingRun, found: dict[str, int], draw: Random) -> None:
    """What became of it; a few are resumed, and must end as the calm run did."""
    if run.status not in ENDS:
        site.broken.append(f"{run} is {run.status}: {run.failure}")
        return
    found[run.status] += 1
    found["never_started"] += run.attempt == 0
    found["with_a_version"] += run.version is not None
    if run.stop():
        site.broken.append(f"{run} was {run.status} and could be stopped again")
    if run.status == run.Status.STOPPED and run.version is None and run.epochs.exists():
        site.broken.append(f"{run} has {run.epochs.count()} epochs and no version of the best one")
    if run.status == run.Status.STOPPED and run.failure:
        site.broken.append(f"{run} is stopped: {run.failure}")
    if run.status == run.Status.STOPPED and draw.random() < 0.2:
        run.resume()
        site.witness.follow(run)
        site.finish(run)
        found["resumed_to_the_same_bits"] += 1


def run_of(run: TrainingRun) -> TrainingRun:
    """As it is in the database now, as a page would read it."""
    return TrainingRun.objects.get(pk=run.pk)


def training(site: Installation, run: TrainingRun) -> bool:
    """Whether a process trains it; one that only makes a version of its best epoch does not."""
    return any(not site.witness.publishes(pid) for pid in site.witness.alive(run))


def kill_supervisor(site: Installation, run: TrainingRun) -> None:
    """The process of the pool that holds the run, if one does."""
    trainers = set(site.witness.alive(run))
    for service in site.workers():
        for child in children(service.pid) if service.pid else []:
            if trainers & set(children(child)):
                os.kill(child, signal.SIGKILL)
