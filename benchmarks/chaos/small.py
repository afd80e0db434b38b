"""`kills` and one round of `points` on the same site and beside the same calm run: what the tests have the time for."""

from collections import Counter
from typing import Any

from benchmarks.chaos import kills, points
from benchmarks.chaos.installation import installed
from benchmarks.chaos.part import Options


def measure(options: Options) -> dict[str, Any]:
    draw, killed = options.random(), Counter[str]()
    with installed(options.folder, web=True, photos=points.PHOTOS, epochs=points.EPOCHS) as site:
        deaths = points.round_of(site, options.folder / "crash")
        while killed.total() < options.size:
            run = site.queue()
            kills.storm(site, run, killed, options.size, draw)
            site.finish(run)
        return {"kills": dict(killed), "deaths": deaths.total()} | site.figures()
