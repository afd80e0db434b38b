"""kill -9 at random moments: of the training, of the worker's processes, of the web server and of the broker."""

import contextlib
import os
import signal
from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any

from benchmarks.chaos.installation import Installation, children, ended, installed
from benchmarks.chaos.part import Options, say
from trainer.models import TrainingRun

EPOCHS = 20


def measure(options: Options) -> dict[str, Any]:
    draw, kills = options.random(), Counter[str]()
    with installed(options.folder, web=True, photos=options.photos, epochs=EPOCHS) as site:
        while kills.total() < options.size:
            run = site.queue()
            storm(site, run, kills, options.size, draw)
            site.finish(run)
            say(f"{kills.total()} kills in {len(site.witness.seen) - 1} runs; {run} is {run.status}")
        return {"kills": kills.total(), "of": dict(kills)} | site.figures()


def storm(site: Installation, run: TrainingRun, kills: Counter[str], size: int, draw: Random) -> None:
    """Kill now and then until the run has ended or there were enough kills."""
    while True:
        site.random_while(run, draw)
        if ended(run) or kills.total() >= size:
            return
        name = draw.choice(list(VICTIMS))
        if VICTIMS[name](site, run, draw):
            kills[name] += 1
            site.witness.note(run.pk, "kill", victim=name)


# --- each kills one of its kind, and answers whether there was one ----------------------------------------------------
def training(site: Installation, run: TrainingRun, draw: Random) -> bool:
    return kill(*site.witness.alive(run))


def pool_process(site: Installation, run: TrainingRun, draw: Random) -> bool:
    """The one that supervises the training, or another one of any worker."""
    found = [child for service in site.workers() if service.pid for child in children(service.pid)]
    supervising = [child for child in found if children(child)]
    return bool(found) and kill(draw.choice(supervising if supervising and draw.random() < 0.8 else found))


def worker(site: Installation, run: TrainingRun, draw: Random) -> bool:
    """The parent: its processes die with it."""
    return kill(*busy_first(site, draw)[:1])


def worker_group(site: Installation, run: TrainingRun, draw: Random) -> bool:
    found = busy_first(site, draw)[:1]
    for pid in found:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
    return bool(found)


def all_workers(site: Installation, run: TrainingRun, draw: Random) -> bool:
    return kill(*busy_first(site, draw))


def web(site: Installation, run: TrainingRun, draw: Random) -> bool:
    return kill(*filter(None, [site.services["web"].pid]))


def broker(site: Installation, run: TrainingRun, draw: Random) -> bool:
    """The embedded one; where another is named this is the cache alone."""
    return kill(*filter(None, [site.services["broker"].pid]))


def busy_first(site: Installation, draw: Random) -> list[int]:
    """The workers' parents, the one that trains first, more often than not."""
    found = [service.pid for service in site.workers() if service.pid]
    draw.shuffle(found)
    if draw.random() < 0.8:
        found.sort(key=lambda pid: not any(children(child) for child in children(pid)))
    return found


def kill(*pids: int) -> bool:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):  # it has just ended
            os.kill(pid, signal.SIGKILL)
    return bool(pids)


VICTIMS: dict[str, Callable[[Installation, TrainingRun, Random], bool]] = {
    "training": training,
    "pool process": pool_process,
    "worker": worker,
    "worker's group": worker_group,
    "all workers": all_workers,
    "web server": web,
    "broker": broker,
}
