"""A death at every named place of the source (`classifier.crash.POINTS`), one after the other, during runs."""

from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.chaos.installation import Installation, ended, installed
from benchmarks.chaos.part import Options, say
from classifier.crash import POINTS
from trainer.models import TrainingRun

EPOCHS, PHOTOS = 24, 10  # 8 photos of three labels are 3 steps of 8
RUNS = 3  # at most, until every place was passed
ENDING = (  # the places after the last epoch, in an order that one run can pass them in, but for the last
    *("before_publish", "in_artifact_write", "before_artifact_rename", "after_artifact_rename", "in_version_copy"),
    *("before_version_row", "after_version_row", "after_run_finished", "before_candidate_told"),
)


def measure(options: Options) -> dict[str, Any]:
    deaths = Counter[str]()
    with installed(options.folder, photos=PHOTOS, epochs=EPOCHS) as site:
        for number in range(1, options.size + 1):
            deaths += round_of(site, options.folder / "crash")
            say(f"round {number}: {deaths.total()} deaths")
        return {"places": len(POINTS), "deaths": deaths.total()} | site.figures()


def round_of(site: Installation, folder: Path) -> Counter[str]:
    """One death at every place."""
    deaths, waiting = Counter[str](), [*(place for place in POINTS if place not in ENDING), *ENDING]
    for _ in range(RUNS):
        if waiting:
            run = site.queue()
            deaths += pass_through(site, run, waiting, folder)
            site.finish(run)
    if waiting:
        site.broken.append(f"nobody passed {', '.join(waiting)}")
    return deaths


def pass_through(site: Installation, run: TrainingRun, waiting: list[str], folder: Path) -> Counter[str]:
    """Let one process after the other die, each at the first place that waits, which then waits no more."""
    deaths = Counter[str]()
    while waiting and not ended(run):
        place = waiting[0]
        (folder / place).touch()
        while (folder / place).exists() and not ended(run):
            site.turn()
        if (folder / place).exists():
            (folder / place).unlink()
        else:
            waiting.remove(place)
            deaths[place] += 1
            site.witness.note(run.pk, "death", place=place)
    return deaths
