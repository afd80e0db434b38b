"""The training process: `python -m trainer.process JOB.json`. It knows no database and no site.

It trains, then makes an artifact of the best epoch, and tells what happens as JSON lines on its standard output:

    {"event": "started", ...}  {"event": "step", ...}  {"event": "epoch", ...}  {"event": "candidate", "folder": ...}
    {"event": "no_space", "needs_bytes": ..., "free_bytes": ...}  {"event": "failed", "sentence": ...}

Its log goes to the standard error. On SIGTERM it saves a checkpoint after the batch under way and exits with 75: start
the same job again, and it goes on with the same result.
"""

import dataclasses
import errno
import json
import logging
import math
import os
import shutil
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import torch
from torch import nn

from classifier.artifact import ArtifactError
from classifier.guard import Refused
from classifier.networks.catalogue import UnknownArchitecture, create
from classifier.networks.parts import HeadError
from trainer import checkpoint, compatible, environment, manifest
from trainer.dataset import Dataset
from trainer.export import ExportError
from trainer.fit import Fit
from trainer.ingest.record import SourceError
from trainer.loop import Diverged, Step
from trainer.origin import Card, origin
from trainer.publish import publish
from trainer.recipe import Recipe, RecipeError
from trainer.warmstart import read_weights, warm_start
from trainer.weights import WeightsError

log = logging.getLogger("trainer.process")

FAILED, LEFT, NO_SPACE = 1, 75, 74  # exit codes; 75 asks to be started again (EX_TEMPFAIL), 74 is EX_IOERR
STEP_EVENT_SECONDS = 0.5
KNOWN = (  # what has a sentence for people
    *(ArtifactError, Diverged, ExportError, HeadError, RecipeError, Refused, SourceError, UnknownArchitecture),
    WeightsError,
)


@dataclass(frozen=True)
class Job:
    """What the file of a job says."""

    name: str  # of the version to be
    recipe: Mapping[str, Any]
    labels: list[str]
    manifest: str  # trainer.manifest
    fingerprint: str  # of the dataset
    card: Mapping[str, Any]  # trainer.origin.Card
    command: str  # what makes the same again
    facts: Mapping[str, Any]  # further lines of the card
    work: str  # folder of the checkpoints
    earlier: list[str]  # those of earlier attempts, removed as soon as this one stands on its own
    out: str  # folder of the artifact
    weights: str | None = None  # pretrained ones: their file, or a folder with it; else where the library has them
    continues: str | None = None  # weights of a version, head included
    only_publish: bool = False  # make the artifact of the best epoch so far
    checkpoint_seconds: float = 300.0


class Teller:
    """Writes the events; knows whether the end was asked for."""

    def __init__(self) -> None:
        self.leaving = False
        self.in_loop = False
        self.last_step = 0.0  # monotonic seconds

    def tell(self, event: str, **facts: Any) -> None:
        """One line; infinities and NaN, which are no JSON, become null."""
        finite = {
            name: None if isinstance(one, float) and not math.isfinite(one) else one for name, one in facts.items()
        }
        sys.stdout.write(json.dumps({"event": event, **finite}, allow_nan=False) + "\n")
        sys.stdout.flush()

    def leave(self, _number: int, _frame: FrameType | None) -> None:
        """In the loop the batch under way comes to its end; elsewhere there is nothing to save."""
        self.leaving = True
        if not self.in_loop:
            sys.exit(LEFT)


def main(file: Path) -> None:
    """Do the job. Exits with 0, 1, 74 or 75."""
    teller = Teller()
    signal.signal(signal.SIGTERM, teller.leave)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the business of who started this process
    job = Job(**json.loads(file.read_text()))
    try:
        run(job, teller)
    except KNOWN as error:
        fail(teller, str(error))
    except MemoryError:
        fail(teller, "There is not enough memory: try a smaller batch, more accumulation or a smaller image size.")
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        no_space(teller, Path(job.work), needed=1)


def fail(teller: Teller, sentence: str) -> NoReturn:
    log.error("%s", sentence)
    teller.tell("failed", sentence=sentence)
    sys.exit(FAILED)


def no_space(teller: Teller, folder: Path, *, needed: int) -> NoReturn:
    free = shutil.disk_usage(folder).free
    log.error("The disk is full: %d bytes are free.", free)
    teller.tell("no_space", needs_bytes=max(needed, free + 1), free_bytes=free)
    sys.exit(NO_SPACE)


def run(job: Job, teller: Teller) -> None:
    """Train to the end or to the signal, then publish."""
    recipe = Recipe.from_dict(job.recipe)
    work = Path(job.work)
    work.mkdir(parents=True, exist_ok=True)
    data = Dataset(
        labels=tuple(job.labels),
        **manifest.read(Path(job.manifest)),
        fingerprint=job.fingerprint,
        unreadable={},
        near_duplicates=0,
    )
    net = network(job, recipe)
    needed = space(net)
    if shutil.disk_usage(work).free < needed:
        no_space(teller, work, needed=needed)
    earlier = [Path(one) for one in job.earlier]
    if job.only_publish:
        state = checkpoint.latest(*earlier, work)
        assert state is not None and state["best"], "who asks for the best epoch knows that there is one"
        best, history = state["best"], state["history"]
    else:
        fit = Fit(net, data, recipe, recipe.preprocessing(), work=work, earlier=earlier)
        train(fit, job, teller)
        best, history = fit.best, fit.history
    net.load_state_dict(best["weights"])
    published = publish(
        net,
        data,
        recipe.preprocessing(),
        name=job.name,
        architecture=recipe.as_architecture(),
        out=Path(job.out),
        origin=lambda: origin(
            Card(**job.card),
            recipe,
            command=job.command,
            dataset_fingerprint=job.fingerprint,
            duration_seconds=sum(epoch["seconds"] for epoch in history),
            facts={
                **job.facts,
                "split": {"train": len(data.train), "validation": len(data.validation), "test": len(data.test)},
                "best_epoch": best["epoch"],
                "epochs": history,
            },
        ),
    )
    teller.tell("candidate", folder=job.out, digest=published.digest)


def network(job: Job, recipe: Recipe) -> nn.Module:
    """Where the training starts: from a version's weights, from published ones, or from random ones of the seed."""
    pretrained = recipe.weights == "pretrained" and not job.continues
    compatible.check(recipe, label_count=len(job.labels), published=pretrained)
    torch.manual_seed(recipe.seed)
    if pretrained:
        return warm_start(recipe.as_architecture(), job.labels, Path(job.weights) if job.weights else None).net
    net = create(recipe.as_architecture(), label_count=len(job.labels))
    if job.continues:
        net.load_state_dict(read_weights(Path(job.continues)))
    return net


def space(net: nn.Module) -> int:
    """Bytes that a training needs on the disk: three checkpoints, of which each holds the weights, their average,
    the optimizer's two moments and the best epoch, and a tenth more."""
    return int(1.1 * 3 * 5 * sum(tensor.nbytes for tensor in net.state_dict().values()))


def train(fit: Fit, job: Job, teller: Teller) -> None:
    """The epochs that are left, each told. What an earlier attempt did is told again, for nobody may have heard it."""
    steps, photos = fit.training.steps_per_epoch, len(fit.photos.labels)
    teller.tell("started", epochs=fit.training.recipe.epochs, steps_per_epoch=steps, photos=photos)
    for figures, trail in zip(fit.history, fit.trails, strict=True):
        teller.tell("epoch", **figures, trail=trail)
    saved = time.monotonic()
    teller.in_loop = True
    for one in fit.progress():
        leaving = teller.leaving  # asked once: a signal that comes below is for the next batch
        if isinstance(one, Step):
            tell_step(teller, fit, one)
            if leaving or time.monotonic() - saved > job.checkpoint_seconds:
                fit.save()
                saved = time.monotonic()
        else:
            teller.tell("epoch", **one.as_dict(), trail=fit.trails[-1])
            saved = time.monotonic()  # by `progress` itself
        if len(list(fit.work.glob("*.checkpoint"))) > 1:
            forget(job.earlier)
        if leaving:
            log.info("leaving after epoch %d, step %d", fit.training.epochs_done, fit.training.sums.steps)
            sys.exit(LEFT)
    teller.in_loop = False


def tell_step(teller: Teller, fit: Fit, step: Step) -> None:
    """Not every one: a few a second are enough for whoever watches."""
    now = time.monotonic()
    if now - teller.last_step < STEP_EVENT_SECONDS and step.number > 1:
        return
    teller.last_step = now
    sums = fit.training.sums
    teller.tell(
        "step",
        **dataclasses.asdict(step),
        images_per_second=sums.seen / sums.seconds,
        memory_bytes=int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"),
        cpu_seconds=time.process_time(),
    )


def forget(folders: list[str]) -> None:
    """The checkpoints of earlier attempts, once two of our own are on the disk."""
    while folders:
        shutil.rmtree(folders.pop(), ignore_errors=True)


if __name__ == "__main__":
    environment.restart_with_settings("trainer.process")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s", stream=sys.stderr)
    main(Path(sys.argv[1]))
