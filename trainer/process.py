"""The training process: `python -m trainer.process JOB.json`. It knows no database and no site.

It trains, then makes an artifact of the best epoch, and tells what happens as JSON lines on its standard output:

    {"event": "started", ...}  {"event": "step", ...}  {"event": "epoch", ...}  {"event": "candidate", "folder": ...}
    {"event": "computing", "done": ..., "total": ...}: pictures that a frozen backbone has looked at
    {"event": "asking", "done": ..., "total": ...}: photos that the finished network has answered
    {"event": "no_space", "needs_bytes": ..., "free_bytes": ...}  {"event": "failed", "sentence": ...}

or, where a learning rate is looked for, {"event": "point", ...} for each step and {"event": "found", ...} at the end.

Its log goes to the standard error. On SIGTERM it saves a checkpoint after the batch under way and exits with 75: start
the same job again, and it goes on with the same result.
"""

import dataclasses
import errno
import json
import logging
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import nn

from classifier import crash, logs
from classifier.artifact import ArtifactError
from classifier.guard import Refused
from classifier.networks.catalogue import UnknownArchitecture, create
from classifier.networks.parts import HeadError
from classifier.sources.listing import SourceError
from trainer import checkpoint, compatible, environment, manifest, rangetest
from trainer.cache import FeatureCache
from trainer.dataset import Dataset
from trainer.export import ExportError
from trainer.features import Computing
from trainer.fit import Fit
from trainer.gpu import describe, ready
from trainer.group import GroupLost
from trainer.job import Job
from trainer.loop import Diverged, Step, TooLittleMemory
from trainer.origin import Card, origin, processor
from trainer.peers import company, follows, mourn
from trainer.publish import Sheet, publish
from trainer.recipe import Recipe, RecipeError
from trainer.teller import LEFT, Teller
from trainer.usage import usage
from trainer.warmstart import read_weights, warm_start
from trainer.weights import WeightsError

log = logging.getLogger("trainer.process")

COMMAND = (sys.executable, "-m", "trainer.process")
FAILED, NO_SPACE = 1, 74  # exit codes beside LEFT; 74 is EX_IOERR
KNOWN = (  # what has a sentence for people
    *(ArtifactError, Diverged, ExportError, HeadError, RecipeError, Refused, SourceError, UnknownArchitecture),
    *(TooLittleMemory, WeightsError),
)


def main(file: Path, place: Sequence[str] = ()) -> None:
    """Do the job. Exits with 0, 1, 74 or 75. `place` is that of a further process of a group (see trainer.peers)."""
    teller = Teller()
    signal.signal(signal.SIGTERM, signal.SIG_IGN if follows(place) else teller.leave)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the business of who started this process
    job = Job(**json.loads(file.read_text()))
    logs.belongs_to(run_id=job.facts.get("run"))
    crash.here("after_training_start")
    try:
        run(job, teller, file, place)
    except GroupLost as error:
        mourn(error, leads=not place)
    except KNOWN as error:
        fail(teller, str(error))
    except torch.AcceleratorError:
        # Every later call to the GPU would fail as well: the process ends as if it were killed, and is started again.
        log.exception("The GPU failed.")
        signal.raise_signal(signal.SIGABRT)
    except (MemoryError, torch.OutOfMemoryError):
        fail(teller, "There is not enough memory: try a smaller batch, more accumulation or a smaller image size.")
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        no_space(teller, Path(job.work))


def fail(teller: Teller, sentence: str) -> NoReturn:
    log.error("%s", sentence)
    teller.tell("failed", sentence=sentence)
    sys.exit(FAILED)


def no_space(teller: Teller, folder: Path) -> NoReturn:
    free = shutil.disk_usage(folder).free
    log.error("The disk is full: %d bytes are free, %d are needed.", free, teller.needs_bytes)
    teller.tell("no_space", needs_bytes=max(teller.needs_bytes, free + 1), free_bytes=free)
    sys.exit(NO_SPACE)


def run(job: Job, teller: Teller, file: Path = Path(), place: Sequence[str] = ()) -> None:
    """Train to the end or to the signal, then publish. Of a group the first process alone publishes, when the others
    have ended. `file` and `place` are those of `main`, by which it starts the others."""
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
    earlier = [Path(one) for one in job.earlier]
    cache = FeatureCache(Path(job.features), max_bytes=job.features_bytes) if job.features else None
    if job.range_test or job.only_publish:
        net, device, size = network(job, recipe), ready(job.devices[0]), len(job.devices)
    if job.range_test:
        points = rangetest.find(net, data, recipe, work=work, cache=cache, device=device)
        find_rate(recipe, points, teller)
        return
    if job.only_publish:
        state = checkpoint.latest(*earlier, work)
        assert state is not None, "who asks for the best epoch knows that there is one"
        best, history, filling_seconds = state["best"], state["history"], state.get("filling_seconds", 0.0)
    else:
        with company(job.devices, place, command=COMMAND, file=file) as (group, device):
            net, size = network(job, recipe), group.size
            teller.needs_bytes = space(net)
            if shutil.disk_usage(work).free < teller.needs_bytes:
                no_space(teller, work)
            fit = Fit(
                net, data, recipe, recipe.preprocessing(),
                work=work, earlier=earlier, cache=cache, device=device, group=group,
            )  # fmt: skip
            crash.here("after_resume")
            if not group.leads:
                follow(fit)
                return
            train(fit, job, teller)
            best, history, filling_seconds = fit.best, fit.history, fit.filling_seconds
    if not best:
        raise Diverged("The loss on the validation photos was finite in no epoch: try a smaller learning rate.")
    net.to(device)
    net.load_state_dict(net.state_dict() | best["weights"])  # those of the head alone where nothing else learnt
    crash.here("before_publish")
    published = publish(
        net,
        data,
        recipe.preprocessing(),
        name=job.name,
        architecture=recipe.as_architecture(),
        out=Path(job.out),
        sheet=sheet(job, work, teller),
        origin=lambda: origin(
            Card(**job.card),
            recipe,
            command=job.command,
            dataset_fingerprint=job.fingerprint,
            duration_seconds=filling_seconds + sum(epoch["seconds"] for epoch in history),
            facts={
                **job.facts,
                **hardware(device, size),
                "split": {"train": len(data.train), "validation": len(data.validation), "test": len(data.test)},
                "best_epoch": best["epoch"],
                "epochs": history,
            },
        ),
    )
    crash.here("before_candidate_told")
    teller.tell("candidate", folder=job.out, digest=published.digest)


def hardware(device: torch.device, processes: int) -> dict[str, Any]:
    """What a card says of where it was trained, beyond the processor."""
    if device.type == "cuda":
        found: dict[str, Any] = {"device": (f"{processes} times " if processes > 1 else "") + describe(device)}
    else:
        found = {"device": f"{processor()}, {processes} processes"} if processes > 1 else {}
    return found | ({"processes": processes} if processes > 1 else {})


def sheet(job: Job, work: Path, teller: Teller) -> Sheet:
    """For the answers to all photos. Who stopped a run waits for its version: the training photos are then left out."""
    photos = manifest.photos(Path(job.manifest))
    if job.only_publish:
        del photos["train"]

    def say(done: int, total: int) -> None:
        if teller.due(at_once=done == total):
            teller.tell("asking", done=done, total=total)

    return Sheet(work / "answers.npy", photos, say)


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
    steps, photos = fit.training.steps_per_epoch, len(fit.ground.labels)
    teller.tell("started", epochs=fit.training.recipe.epochs, steps_per_epoch=steps, photos=photos)
    for figures, trail in zip(fit.history, fit.trails, strict=True):
        teller.tell("epoch", **figures, trail=trail)
    saved = time.monotonic()
    teller.in_loop = True
    with closing(fit.progress()) as progress:  # closed at once, so that what a backbone has seen is kept
        for one in progress:
            leaving = teller.leaving  # asked once: a signal that comes below is for the next batch
            if isinstance(one, Computing):
                tell_computing(teller, one)
            elif isinstance(one, Step):
                tell_step(teller, fit, one)
                if leaving or time.monotonic() - saved > job.checkpoint_seconds:
                    fit.save()
                    saved = time.monotonic()
            else:
                crash.here("before_epoch_told")
                teller.tell("epoch", **one.as_dict(), trail=fit.trails[-1], checkpoint_seconds=fit.saving_seconds)
                crash.here("after_epoch_told")
                saved = time.monotonic()  # by `progress` itself
            if not isinstance(one, Computing) and len(list(fit.work.glob("*.checkpoint"))) > 1:
                forget(job.earlier)
            if leaving:
                log.info("leaving after epoch %d, step %d", fit.training.epochs_done, fit.training.sums.steps)
                sys.exit(LEFT)
    teller.in_loop = False


def follow(fit: Fit) -> None:
    """The steps and epochs that are left, together with the process that tells of them and saves them."""
    for _ in fit.progress():
        pass


def find_rate(recipe: Recipe, found: Iterator[Computing | rangetest.Point], teller: Teller) -> None:
    """Tell every step of a range test, and what they say together."""
    teller.tell("started", steps=rangetest.STEPS)
    points: list[rangetest.Point] = []
    for one in found:
        if isinstance(one, Computing):
            tell_computing(teller, one)
        else:
            points.append(one)
            teller.tell("point", **dataclasses.asdict(one))
    teller.tell("found", **rangetest.findings(recipe, points))


def tell_computing(teller: Teller, computing: Computing) -> None:
    """A few a second, and the first and the last."""
    if teller.due(at_once=computing.done == computing.total):
        teller.tell("computing", **dataclasses.asdict(computing))


def tell_step(teller: Teller, fit: Fit, step: Step) -> None:
    """Not every one: a few a second are enough for whoever watches."""
    crash.here("after_step")
    if not teller.due(at_once=step.number == 1):
        return
    sums = fit.training.sums
    teller.tell(
        "step",
        **dataclasses.asdict(step),
        images_per_second=sums.seen / sums.seconds,
        trail=sums.trail,
        **usage(fit.training.device),
    )


def forget(folders: list[str]) -> None:
    """The checkpoints of earlier attempts, once two of our own are on the disk."""
    while folders:
        shutil.rmtree(folders.pop(), ignore_errors=True)
        crash.here("after_forget")


if __name__ == "__main__":
    environment.restart_with_settings("trainer.process")
    logs.to_stderr(os.environ.get("LOG_FORMAT", ""))
    if follows(sys.argv[2:]):
        logging.getLogger().setLevel(logging.WARNING)
    main(Path(sys.argv[1]), sys.argv[2:])
