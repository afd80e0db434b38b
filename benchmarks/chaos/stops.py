"""SIGTERM to a worker at random moments, as a new release or a reboot would: it saves the batch, gives the run back and
goes within ten seconds. Half of them hear it twice; of others every process of theirs hears it, as systemd does it.
"""

import contextlib
import os
import signal
from random import Random
from time import monotonic
from typing import Any

from benchmarks.chaos.installation import Installation, Service, children, ended, installed
from benchmarks.chaos.part import Options, say

EPOCHS = 20
GOAL_SECONDS = 10.0


def measure(options: Options) -> dict[str, Any]:
    draw = options.random()
    took: list[float] = []
    killed = 0  # trainings that did not end their batch within the grace: the row pauses then
    with installed(options.folder, workers=1, photos=options.photos, epochs=EPOCHS) as site:
        while len(took) < options.size:
            run = site.queue()
            while len(took) < options.size and not ended(run):
                site.random_while(run, draw)
                if not ended(run) and site.workers()[0].pid:
                    took.append(stop(site, site.workers()[0], draw))
                    run.refresh_from_db()
                    killed += run.status == run.Status.QUEUED and run.due_at is not None
            site.finish(run)
            say(f"{len(took)} stops, the slowest took {max(took):.1f} s; {run} is {run.status}")
        if max(took) > GOAL_SECONDS:
            site.broken.append(f"a stop took {max(took):.1f} s")
        figures = {"stops": len(took), "slowest_seconds": round(max(took), 1), "killed_after_the_grace": killed}
        return figures | site.figures()


def stop(site: Installation, worker: Service, draw: Random) -> float:
    """How long it took until nothing of the worker was left, in seconds."""
    parent = worker.process
    assert parent is not None
    family = [parent.pid, *children(parent.pid)]
    family += [child for pid in family[1:] for child in children(pid)]
    way = draw.choice(("once", "twice", "all"))
    began = monotonic()
    again = began + draw.uniform(0.1, 2.0)
    for pid in family if way == "all" else family[:1]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    while parent.poll() is None:
        if way == "twice" and monotonic() > again:
            parent.send_signal(signal.SIGTERM)
            again = float("inf")
        site.turn()
    return monotonic() - began
