"""What one claim of a run does: its training process from the start to the end, and what becomes of the row then.

The database may be away for a while: the training goes on, and its epochs are stored when it is back.
"""

import errno
import logging
import os
import shutil
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any, TypeVar

from django.conf import settings
from django.db import InterfaceError, OperationalError, connection

from breedsite.holding import BEAT_SECONDS, Heart, Lost
from breedsite.tether import die_with
from classifier import crash
from classifier.artifact import ArtifactError
from classifier.models import ModelVersion
from classifier.models.keeping import drop_version
from trainer.child import Child
from trainer.models.carrying import share_answers
from trainer.models.dataset import Dataset
from trainer.models.jobfile import write_job
from trainer.models.run import TrainingRun
from trainer.models.using import Use
from trainer.recipe import Recipe, RecipeError

log = logging.getLogger(__name__)

T = TypeVar("T")
LEAST_BYTES = 10_000_000  # of free space, for a job file and the first lines of a log
LEFT, NO_SPACE = 75, 74  # exit codes of trainer.process, which cannot be imported here: it loads torch
KEPT = "Its best epoch was kept: it is a candidate."
PHASES = {"computing": "computing features", "asking": "asking it about every photo,"}  # event -> what is done
UNFORESEEN = "The training ended with an error that nobody foresaw: the end of its log says which."


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
        self.retry_at = 0.0  # monotonic seconds: not to be tried before
        self.last: dict[str, Any] = {}  # the last event
        self.begun: dict[str, Any] = {}  # the event `started`
        self.begins: dict[str, tuple[float, int]] = {}  # kind of event -> when the first was told, and how far it was
        self.use = Use(run.use, run.started_at or run.created_at)

    def go(self) -> None:
        """Train, then give the row what it ends with; wait where the disk is full."""
        try:
            self.work()
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            self.pause(max(self.run.needs_bytes, LEAST_BYTES), self.run.folder)

    def work(self) -> None:
        """Raises Lost, or OSError when the disk is full."""
        run = self.run
        try:
            Recipe.from_dict(run.recipe)
            dataset = self.patiently(lambda: run.dataset)
            if run.fingerprint != dataset.fingerprint or dataset.status != Dataset.Status.READY:
                raise RecipeError("dataset", f"The dataset {dataset} is not what the run was started with.")
            if self.patiently(lambda: run.lost_its_start):
                raise RecipeError("parent", f"The version of {run.parent}, from which it starts, is gone.")
        except RecipeError as error:
            sentence, end = str(error), run.Status.STOPPED if self.heart.stop_requested else run.Status.FAILED
            self.ours(lambda: run.finish(end, sentence))
            return
        if (made := self.left_behind()) is not None:
            self.publish(made, run.Status.FINISHED)
            return
        if self.heart.stop_requested:  # while it waited
            self.stopped()
            return
        code = self.train(only_publish=False)
        if code == 0:
            self.done()
        elif code > 0 and code not in (LEFT, NO_SPACE):
            self.failed(self.last["sentence"] if self.last.get("event") == "failed" else UNFORESEEN)
        elif self.heart.stop_requested:
            self.stopped()
        elif code == NO_SPACE:
            self.pause(self.last["needs_bytes"], run.folder)
        elif self.left(code):
            self.ours(run.give_back)
        elif run.dies_for_good:
            self.failed(run.last_words(death(-code)))
        else:
            self.ours(lambda: run.died(death(-code)))

    def train(self, *, only_publish: bool) -> int:
        """One process from start to end; its exit code. Raises Lost, or OSError when the disk is full."""
        job = self.patiently(lambda: write_job(self.run, only_publish=only_publish))
        child = Child(job, self.run.folder / "log.txt", tether=partial(die_with, os.getpid()))
        crash.here("after_trainer_start")
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
            self.say({"event": "ended"})
            self.patiently(self.store_all)
            return child.code
        finally:
            child.kill()

    def left(self, code: int) -> bool:
        """Whether a process that ended with this code was asked to go, with us, before its work was done."""
        return code == LEFT or (code < 0 and self.ask())

    def hear(self, event: dict[str, Any]) -> None:
        kind = event["event"]
        if kind == "step" or kind in PHASES:
            self.heart.live = self.progress(event) if kind == "step" else self.phase(event)
            event = event | self.heart.live["live"]
        self.say(event)
        self.last = event
        if kind == "started":
            self.begun = event
        elif kind == "epoch":
            self.pending.append({name: value for name, value in event.items() if name != "event"})

    def phase(self, event: dict[str, Any]) -> dict[str, Any]:
        """What the row tells before the first step and after the last one."""
        kind, done, total = event["event"], event["done"], event["total"]
        left = self.remaining_seconds(kind, done, total)
        live = {"phase": PHASES[kind], "done": done, "total": total, "remaining_seconds": left}
        return {"live": live, "progress_done": done, "progress_total": total}

    def remaining_seconds(self, kind: str, done: int, total: int) -> float | None:
        """From the pace since the first event of its kind; None at that one."""
        now = monotonic()
        began, begun = self.begins.setdefault(kind, (now, done))
        return (now - began) / (done - begun) * (total - done) if done > begun else None

    def progress(self, step: dict[str, Any]) -> dict[str, Any]:
        """What the row tells of the step under way."""
        steps = self.begun["steps_per_epoch"]
        total = steps * self.begun["epochs"]
        done = (step["epoch"] - 1) * steps + step["number"]
        left = self.remaining_seconds("step", done, total)
        live = {name: value for name, value in step.items() if name not in ("event", "cpu_seconds")}
        self.use.add(step)
        live |= {"steps": steps, "epochs": self.begun["epochs"], "remaining_seconds": left}
        live["processors"] = self.use.processors
        return {"live": live, "use": self.use.rows, "progress_done": done, "progress_total": total}

    def store(self) -> None:
        """Epochs into the database; those that it does not take now wait here. Raises Lost."""
        if not self.pending or monotonic() < self.retry_at:
            return
        try:
            self.store_all()
        except (OperationalError, InterfaceError) as error:
            log.warning("An epoch of %s cannot be stored now: %s", self.run, error)
            connection.close()
            self.retry_at = monotonic() + BEAT_SECONDS

    def store_all(self) -> None:
        """In their order."""
        while self.pending:
            self.ours(lambda: self.run.record(self.pending[0]))
            del self.pending[0]

    def done(self) -> None:
        """Its process came to the end."""
        self.publish(Path(self.last["folder"]), self.run.Status.FINISHED)

    def stopped(self) -> None:
        """A stop keeps the best weights: they become a candidate."""
        run, failure = self.run, ""
        if self.patiently(run.epochs.exists):
            code = self.train(only_publish=True)
            if code == 0:
                self.publish(Path(self.last["folder"]), run.Status.STOPPED)
                return
            if code == NO_SPACE:
                self.pause(self.last["needs_bytes"], run.folder)
                return
            if self.left(code):
                self.ours(run.give_back)  # it is stopped again, when there is time to keep something
                return
            failure = "No version could be made of its best epoch: the end of the log says why."
        self.ours(lambda: run.finish(run.Status.STOPPED, failure))

    def failed(self, sentence: str) -> None:
        """What was learnt before a failure is not lost: the best epoch becomes a candidate."""
        code = self.train(only_publish=True) if self.patiently(self.run.epochs.exists) else None
        if code == 0:
            self.publish(Path(self.last["folder"]), self.run.Status.FAILED, f"{sentence} {KEPT}")
        elif code == NO_SPACE:
            self.pause(self.last["needs_bytes"], self.run.folder)
        elif code is not None and self.left(code):
            self.ours(self.run.give_back)  # it fails once more, when there is time to keep something
        else:
            self.fail(sentence)

    def publish(self, folder: Path, status: str, failure: str = "") -> None:
        """The artifact becomes a candidate in place of an earlier one, and the run has ended. Raises Lost."""
        run, earlier = self.run, self.patiently(lambda: self.run.version)
        self.ours(run.beat)
        try:
            version = self.patiently(lambda: ModelVersion.objects.install(folder))
        except ArtifactError as error:
            self.fail(f"The artifact is not sound: {error}.")
            return
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            self.pause(2 * sum(file.stat().st_size for file in folder.iterdir()), Path(settings.VERSIONS_DIR))
            return
        with suppress(FileNotFoundError):  # an earlier attempt at this very end put them there
            (folder.parent / run.answers.name).replace(run.answers)
        share_answers(run)
        if not self.patiently(lambda: run.finish(status, failure, version=version) or run.ended_with(version)):
            self.patiently(lambda: discard(version))
            raise Lost
        crash.here("after_run_finished")
        if earlier is not None and earlier != version:
            self.patiently(lambda: discard(earlier))
        if status == run.Status.FINISHED:
            run.remove_checkpoints()

    def left_behind(self) -> Path | None:
        """The whole artifact of an attempt whose supervisor was killed before it told anybody."""
        if self.run.stop_requested:
            return None
        return next(iter(sorted(self.run.folder.glob("attempt-*/artifact"))), None)

    def fail(self, sentence: str) -> None:
        self.ours(lambda: self.run.finish(self.run.Status.FAILED, sentence))

    def pause(self, needs_bytes: int, place: Path) -> None:
        """Let the run wait for so much space on the disk of `place`."""
        self.run.stop_requested = self.heart.stop_requested
        self.ours(lambda: self.run.pause(needs_bytes, place))

    def ours(self, change: Callable[[], bool]) -> None:
        """Change the row, when the database is there. Raises Lost where it is not ours any more."""
        if not self.patiently(change):
            raise Lost

    def patiently(self, do: Callable[[], T]) -> T:
        """What the database answers, however long it is away: this process keeps what it knows, and its place.

        Raises Lost when it was away for too long, and its error when this process was asked to go meanwhile.
        """
        while True:
            try:
                return do()
            except (OperationalError, InterfaceError) as error:
                log.warning("%s waits for the database: %s", self.run, error)
                connection.close()
                if self.heart.lost:
                    raise Lost from error
                if self.ask():
                    raise
                threading.Event().wait(BEAT_SECONDS)


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
        drop_version(folder)
        shutil.rmtree(folder, ignore_errors=True)
