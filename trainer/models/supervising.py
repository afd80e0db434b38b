"""One claim of a run: its training process from the start to the end, and what becomes of the row then.

Whoever supervises holds the row by its token and says so every second; who has lost it ends the process and publishes
nothing. The database may be away for a while: the training goes on, and its epochs are stored when it is back.
"""

import errno
import json
import logging
import os
import shlex
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from time import monotonic
from types import FrameType
from typing import Any

from django.conf import settings
from django.db import Error as DatabaseError
from django.db import connection

from breedsite.tether import die_with
from classifier.artifact import ArtifactError
from classifier.models import ModelVersion
from trainer import manifest
from trainer.child import Child
from trainer.models.dataset import Dataset
from trainer.models.run import TrainingRun
from trainer.recipe import Recipe, RecipeError

log = logging.getLogger(__name__)

BEAT_SECONDS = 1.0  # at most: a stop is heard of within this time
MUTE_SECONDS = 600.0  # without a beat that reached the database, after which a supervisor gives up
LEFT, NO_SPACE = 75, 74  # exit codes of trainer.process, which cannot be imported here: it loads torch
UNFORESEEN = "The training ended with an error that nobody foresaw: the end of its log says which."


class Lost(Exception):
    """The row belongs to another process by now, or to nobody."""


class Heart(threading.Thread):
    """Beats for a run until the end of the block, with a connection of its own."""

    def __init__(self, run: TrainingRun) -> None:
        super().__init__(name="heart", daemon=True)
        self.run_row = TrainingRun.objects.get(pk=run.pk)
        self.run_row.token = run.token
        self.live: dict[str, Any] = {}  # what the next beat tells
        self.lost = False
        self.stop_requested = run.stop_requested
        self._over = threading.Event()

    def __enter__(self) -> "Heart":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()

    def run(self) -> None:
        reached = monotonic()
        seconds = min(BEAT_SECONDS, settings.HEARTBEAT_SECONDS)
        try:
            while not self._over.wait(seconds):
                try:
                    self.lost = not self.run_row.beat(**self.live)
                    reached = monotonic()
                except DatabaseError as error:
                    log.warning("%s cannot beat now: %s", self.run_row, error)
                    connection.close()
                    self.lost = monotonic() - reached > MUTE_SECONDS
                self.stop_requested = self.run_row.stop_requested
                if self.lost:
                    return
        finally:
            connection.close()


class Ask:
    """Whether this process was asked to go: by a signal, or by the worker it belongs to."""

    def __init__(self, leaving: Callable[[], bool]) -> None:
        self._leaving = leaving
        self._signalled = False

    def __call__(self) -> bool:
        return self._signalled or self._leaving()

    @contextmanager
    def heard(self, *numbers: int) -> Iterator[None]:
        """Within the block these signals only ask."""

        def hear(_number: int, _frame: FrameType | None) -> None:
            self._signalled = True

        before = {number: signal.signal(number, hear) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def device() -> str:
    """The one place of this machine where a training can run."""
    return f"{os.uname().nodename} cpu"


def supervise(
    run: TrainingRun,
    *,
    leaving: Callable[[], bool] = lambda: False,
    say: Callable[[dict[str, Any]], None] = lambda event: None,
) -> bool:
    """Train a claimed run to its end, or as far as it gets. `say` hears every event. To be called by the main thread.

    False when this process was asked to go, by `leaving` or by a signal: it should claim nothing more.
    """
    ask = Ask(leaving)
    signals = (signal.SIGTERM, signal.SIGINT)
    try:
        with ask.heard(*signals), Heart(run) as heart:
            Attempt(run, heart, ask, say).go()
    except Lost:
        log.warning("%s is no longer ours: what this attempt made is dropped.", run)
    return not ask()


class Attempt:
    """What one claim does: one training process, perhaps one more that publishes the best epoch."""

    def __init__(
        self, run: TrainingRun, heart: Heart, ask: Callable[[], bool], say: Callable[[dict[str, Any]], None]
    ) -> None:
        self.run = run
        self.heart = heart
        self.ask = ask
        self.say = say
        self.pending: list[dict[str, Any]] = []  # epochs that are not in the database yet
        self.last: dict[str, Any] = {}  # the last event
        self.begun: dict[str, Any] = {}  # the event `started`
        self.first: tuple[float, int] | None = None  # when the first step was told, and how far it was
        self.cpu = (0.0, 0.0)  # when the last step was told, and the processor time until then, seconds

    def go(self) -> None:
        """Train, then give the row what it ends with."""
        run = self.run
        try:
            Recipe.from_dict(run.recipe)
            if run.fingerprint != run.dataset.fingerprint or run.dataset.status != Dataset.Status.READY:
                raise RecipeError("dataset", f"The dataset {run.dataset} is not what the run was started with.")
        except RecipeError as error:
            self.ours(run.finish(run.Status.FAILED, str(error)))
            return
        if (made := self.left_behind()) is not None:
            self.publish(made, run.Status.FINISHED)
            return
        code = self.train(only_publish=False)
        stopped = self.heart.stop_requested
        if code == 0:
            self.publish(Path(self.last["folder"]), run.Status.FINISHED)
        elif code == NO_SPACE:
            self.ours(run.pause(self.last["needs_bytes"], self.last["free_bytes"]))
        elif code > 0 and code != LEFT:
            sentence = self.last["sentence"] if self.last.get("event") == "failed" else UNFORESEEN
            self.ours(run.finish(run.Status.FAILED, sentence))
        elif stopped:
            self.stopped()
        elif code == LEFT or self.ask():
            self.ours(run.give_back())
        else:
            self.ours(run.died(death(-code)))

    def train(self, *, only_publish: bool) -> int:
        """One process from start to end; its exit code. Raises Lost."""
        job = write_job(self.run, only_publish=only_publish)
        child = Child(job, self.run.folder / "log.txt", tether=partial(die_with, os.getpid()))
        try:
            while True:
                if self.heart.lost:
                    raise Lost
                if self.ask() or (self.heart.stop_requested and not only_publish):
                    child.leave()
                try:
                    if (event := child.next_event(0.25)) is not None:
                        self.hear(event)
                except EOFError:
                    break
                self.store()
            while self.pending and not self.heart.lost:
                self.store(patiently=True)
            return child.code
        finally:
            child.kill()

    def hear(self, event: dict[str, Any]) -> None:
        self.say(event)
        self.last = event
        kind = event["event"]
        if kind == "started":
            self.begun = event
        elif kind == "epoch":
            self.pending.append({name: value for name, value in event.items() if name != "event"})
        elif kind == "step":
            self.heart.live = self.progress(event)

    def progress(self, step: dict[str, Any]) -> dict[str, Any]:
        """What the row tells of the step under way."""
        steps = self.begun["steps_per_epoch"]
        total = steps * self.begun["epochs"]
        done = (step["epoch"] - 1) * steps + step["number"]
        began, begun = self.first = self.first or (monotonic(), done)
        left = (monotonic() - began) / (done - begun) * (total - done) if done > begun else None
        live = {name: value for name, value in step.items() if name not in ("event", "cpu_seconds")}
        (before, used), self.cpu = self.cpu, (monotonic(), step["cpu_seconds"])
        live["processors"] = (self.cpu[1] - used) / (self.cpu[0] - before) if before else None
        live |= {"steps": steps, "epochs": self.begun["epochs"], "remaining_seconds": left}
        return {"live": live, "progress_done": done, "progress_total": total}

    def store(self, *, patiently: bool = False) -> None:
        """Epochs into the database, in their order; those that it does not take now wait here. Raises Lost."""
        try:
            while self.pending:
                self.ours(self.run.record(self.pending[0]))
                del self.pending[0]
        except DatabaseError as error:
            log.warning("An epoch of %s cannot be stored now: %s", self.run, error)
            connection.close()
            if patiently:
                threading.Event().wait(BEAT_SECONDS)

    def stopped(self) -> None:
        """A stop keeps the best weights: they become a candidate."""
        run, failure = self.run, ""
        if run.epochs.exists():
            if self.train(only_publish=True) == 0:
                self.publish(Path(self.last["folder"]), run.Status.STOPPED)
                return
            failure = "No version could be made of its best epoch: the end of the log says why."
        self.ours(run.finish(run.Status.STOPPED, failure))

    def publish(self, folder: Path, status: str) -> None:
        """The artifact becomes a candidate in place of an earlier one, and the run has ended. Raises Lost."""
        run, earlier = self.run, self.run.version
        self.ours(run.beat())
        try:
            version = ModelVersion.objects.install(folder)
        except ArtifactError as error:
            self.ours(run.finish(run.Status.FAILED, f"The artifact is not sound: {error}."))
            return
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            needed = sum(file.stat().st_size for file in folder.iterdir())
            self.ours(run.pause(2 * needed, shutil.disk_usage(folder).free))
            return
        if not run.finish(status, version=version):
            discard(version)
            raise Lost
        if earlier is not None and earlier != version:
            discard(earlier)
        if status == run.Status.FINISHED:
            for place in run.folder.glob("attempt-*"):  # checkpoints that nobody needs any more
                shutil.rmtree(place, ignore_errors=True)

    def left_behind(self) -> Path | None:
        """The whole artifact of an attempt whose supervisor was killed before it told anybody."""
        if self.run.stop_requested:
            return None
        return next(iter(sorted(self.run.folder.glob("attempt-*/artifact"))), None)

    def ours(self, held: bool) -> None:
        if not held:
            raise Lost


def write_job(run: TrainingRun, *, only_publish: bool) -> Path:
    """The job file of this attempt, and beside it the manifest of the dataset."""
    folder = run.folder
    work = folder / f"attempt-{run.attempt}"
    work.mkdir(parents=True, exist_ok=True)
    dataset, place = run.dataset, run.dataset.path
    photos = dataset.photos.filter(excluded=False).order_by("pixels", "pk").iterator(chunk_size=2000)
    manifest.write(
        work / "manifest.jsonl",
        (manifest.Entry(str(one.file(place)), one.sha256, one.label, one.part, one.name) for one in photos),
    )
    parent = run.parent.version if run.parent else None
    earlier = [place for place in sorted(folder.glob("attempt-*"), key=number) if place != work]
    job = {
        "name": run.name,
        "recipe": run.recipe,
        "labels": dataset.labels,
        "manifest": str(work / "manifest.jsonl"),
        "fingerprint": run.fingerprint,
        "card": card(run),
        "command": command(run),
        "facts": {"run": run.pk, "dataset": str(dataset)} | ({"continues": str(parent)} if parent else {}),
        "work": str(work),
        "earlier": [str(place) for place in earlier],
        "out": str(work / ("best" if only_publish else "artifact")),
        "weights": str(settings.WEIGHTS_DIR) if settings.WEIGHTS_DIR else None,
        "continues": str(parent.path / "weights.safetensors") if parent else None,
        "only_publish": only_publish,
    }
    file = work / ("publish.json" if only_publish else "train.json")
    file.write_text(json.dumps(job, ensure_ascii=False, indent=1))
    return file


def command(run: TrainingRun) -> str:
    """What trains the same again, from the start."""
    words = ["manage.py", "train", "--dataset", str(run.dataset), "--name", run.name]
    words += ["--preset", run.preset] if run.preset else []
    for name in sorted(run.changes):  # PostgreSQL keeps no order
        words += ["--set", f"{name}={run.changes[name]}"]
    return shlex.join(words)


def number(place: Path) -> int:
    """Of an attempt's folder."""
    return int(place.name.rpartition("-")[2])


def card(run: TrainingRun) -> dict[str, Any]:
    """What is known of a model that somebody trains here; the rest is for who gives it away to say."""
    recipe = Recipe.from_dict(run.recipe)
    counts = ", ".join(f"{part} {count}" for part, count in run.dataset.counts.items())
    pretrained = recipe.weights == "pretrained"
    return {
        "data": f"{run.dataset}: photographs of {len(run.dataset.labels)} labels ({counts})",
        "backbone": f"{recipe.architecture}, {'pretrained' if pretrained else 'from random weights'}",
        "backbone_has_seen_the_photos": "The published weights were made from other photographs, mostly ImageNet's. "
        "Whether these are among them was not looked into."
        if pretrained
        else None,
        "license": "Nobody has stated one: it depends on the photographs and on the pretrained weights.",
        "intended_use": f"Telling apart the labels of {run.dataset.name}.",
        "not_for": ["Pictures of anything else: it names one of its labels for every picture"],
    }


def death(number: int) -> str:
    """In words, why a process ended by that signal, and what to do."""
    if number == signal.SIGKILL:
        return "The training was killed by signal 9, probably out of memory: try a smaller batch or image size."
    return f"The training was killed by signal {number} ({signal.strsignal(number)}): the end of its log may say why."


def discard(version: ModelVersion) -> None:
    """Remove a candidate that another replaces, unless it was ever in use."""
    if version.activated_at is None:
        folder = version.path
        version.delete()
        shutil.rmtree(folder, ignore_errors=True)
