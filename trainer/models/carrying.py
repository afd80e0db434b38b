"""A run that any host may take up, where they share a storage: what it needs is here before it is worked on, and its
newest checkpoint goes there after each epoch, so that whoever goes on has at most one to do again.
"""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from breedsite.storage import Broken, Entry, Piece, StorageAway, named, store
from classifier.models.keeping import VERSIONS
from trainer.models.sharing import DATASETS, bring_photos

if TYPE_CHECKING:
    from trainer.models.run import TrainingRun

log = logging.getLogger(__name__)

KEEP = 2  # checkpoints of a run in the storage: should the newest be damaged, there is another
LAST_SECONDS = 5.0  # that a training which has ended waits for its last checkpoint to arrive
AGAIN_SECONDS = 10.0  # after which a checkpoint is sent again that did not arrive
RUNS = "runs"
LOG_SECONDS = 5.0  # between two looks for the log of another host's training
looked: dict[int, float] = {}  # run -> when somebody looked, monotonic seconds


@contextmanager
def at_hand(run: "TrainingRun", going: Callable[[], bool]) -> Iterator["Carrier | None"]:
    """Its photos, the version that it starts from and its newest checkpoint are here within the block, and stay.

    Raises SourceError, ArtifactError, StorageAway, Cut, OSError.
    """
    if not store().on:
        yield None
        return
    bring_log(run)
    dataset, parent = run.dataset, run.parent.version if run.parent else None
    with store().holding(DATASETS, dataset.folder or "none"):
        if run.fingerprint == dataset.fingerprint and dataset.status == dataset.Status.READY:
            bring_photos(dataset, going=going)
        if parent is None:
            with Carrier(run, bring_checkpoint(run)) as carrier:
                yield carrier
            return
        with store().holding(VERSIONS, parent.folder):
            parent.bring()
            with Carrier(run, bring_checkpoint(run)) as carrier:
                yield carrier


def checkpoints(run: "TrainingRun") -> list[Entry]:
    """Those in the storage, the newest last. Raises StorageAway."""
    found = [one for one in store().entries(f"{RUNS}/{run.pk}/attempt-") if named(one).endswith(".checkpoint")]
    return sorted(found, key=lambda one: (stem(one), one.modified))


def stem(entry: Entry) -> str:
    """epoch-00003-step-0000000.checkpoint: in their order they are older and newer."""
    return Path(named(entry)).name


def bring_checkpoint(run: "TrainingRun") -> Path | None:
    """The newest that is sound, here; None where the storage has none that this host lacks. Raises StorageAway."""
    for entry in reversed(checkpoints(run)):
        file = run.folder / named(entry).removeprefix(f"{RUNS}/{run.pk}/")
        if file.exists():
            return file
        try:
            store().fetch([Piece(named(entry), file, entry.name.rpartition(".")[2])])
        except Broken as error:
            log.warning("%s The checkpoint before it is used.", error)
            continue
        log.info("%s goes on from %s, which came from the storage.", run, file.name)
        return file
    return None


def drop_checkpoints(run: "TrainingRun") -> None:
    """It has finished, and nobody needs them any more."""
    store().remove(f"{RUNS}/{run.pk}/attempt-")


class Carrier(threading.Thread):
    """Puts the newest checkpoint of a run into the storage whenever `hear` is told of an epoch, in a thread of its own:
    a slow storage holds up neither the training nor who watches it."""

    def __init__(self, row: "TrainingRun", known: Path | None) -> None:
        super().__init__(name="carrier", daemon=True)
        self.row = row
        self.there = known  # the newest checkpoint that is in the storage
        self.news = threading.Condition()
        self.asked, self.done = 1, 0  # how often there was a reason to look, and up to which of them all is there
        self.over = False

    def __enter__(self) -> "Carrier":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """What is on its way arrives, or not: nobody waits."""
        with self.news:
            self.over = True
            self.news.notify_all()

    def hear(self, event: dict[str, Any]) -> None:
        """The event of a training process: an epoch, or that it has ended; its last checkpoint is then waited for."""
        if event["event"] not in ("epoch", "ended"):
            return
        with self.news:
            self.asked += 1
            self.news.notify_all()
            if event["event"] == "ended":
                self.news.wait_for(lambda: self.done == self.asked, LAST_SECONDS)

    def run(self) -> None:
        arrived = True
        while True:
            with self.news:
                if arrived:
                    self.news.wait_for(lambda: self.over or self.done != self.asked)
                elif not self.over:
                    self.news.wait(AGAIN_SECONDS)
                if self.over and (not arrived or self.done == self.asked):
                    return
                asked = self.asked
            arrived = self.carry()
            with self.news:
                self.done = asked if arrived else self.done
                self.news.notify_all()

    def carry(self) -> bool:
        """Send the newest. False where it did not arrive."""
        newest = max(self.row.folder.glob("attempt-*/epoch-*.checkpoint"), key=lambda file: file.name, default=None)
        try:
            if newest is not None and newest != self.there:
                store().push([Piece(f"{RUNS}/{self.row.pk}/{newest.parent.name}/{newest.name}", newest)])
                self.there = newest
                store().take_away(one.name for one in checkpoints(self.row)[:-KEEP])
            share_log(self.row)
        except FileNotFoundError:  # there is a newer one by now, and its epoch is told
            return True
        except OSError as error:
            log.warning("The newest checkpoint of %s is not in the storage yet: %s", self.row, error)
            return False
        return True


# --- what its version answered ----------------------------------------------------------------------------------------
def share_answers(run: "TrainingRun") -> None:
    """Put them into the storage, where there are any. Raises StorageAway."""
    if store().on and run.answers.exists():
        store().push([Piece(f"{RUNS}/{run.pk}/{run.answers.name}", run.answers)])


def bring_answers(run: "TrainingRun") -> None:
    """Get them, where they are not here, or those of an earlier attempt are. Raises FileNotFoundError where nobody has
    them, StorageAway."""
    try:
        store().renew(Piece(f"{RUNS}/{run.pk}/{run.answers.name}", run.answers))
    except Broken as error:
        raise FileNotFoundError(str(error)) from error


# --- its log ----------------------------------------------------------------------------------------------------------
def own_log(run: "TrainingRun") -> Piece:
    return Piece(f"{RUNS}/{run.pk}/log.txt", run.folder / "log.txt")


def share_log(run: "TrainingRun") -> None:
    """Put it into the storage as it is now, in place of what it was. Raises StorageAway, OSError."""
    if store().push(piece for piece in [own_log(run)] if piece.file.exists()):
        written = sorted(store().entries(f"{own_log(run).name}."), key=lambda one: (one.modified, one.bytes))
        store().take_away(one.name for one in written[:-1])


def log_of(run: "TrainingRun") -> Path:
    """Where to read it: of another host's there is a copy that is some seconds old. Every host goes on with the log of
    the one before, so the longer one is the newer."""
    file, copy = run.folder / "log.txt", run.folder / "log.copy.txt"
    if not store().on:
        return file
    if monotonic() - looked.get(run.pk, -LOG_SECONDS) >= LOG_SECONDS:
        looked[run.pk] = monotonic()
        with suppress(Broken, OSError):  # none was written yet, or it comes later
            store().renew(replace(own_log(run), file=copy))
    return max((file, copy), key=lambda one: one.stat().st_size if one.exists() else -1)


def bring_log(run: "TrainingRun") -> None:
    """Let this host go on with the log of the one before."""
    looked.pop(run.pk, None)
    newest = log_of(run)
    if newest.exists() and newest != own_log(run).file:
        newest.replace(own_log(run).file)


def tidy_runs() -> None:
    """Remove from the storage the checkpoints that arrived after their run had ended."""
    from trainer.models.run import TrainingRun

    with suppress(StorageAway):  # looked at again later
        if not store().is_due(RUNS):
            return
        late = [one.name for one in store().abandoned(f"{RUNS}/") if "/attempt-" in one.name]
        numbers = {name.split("/")[1] for name in late}
        rows = TrainingRun.objects.filter(pk__in=filter(str.isdecimal, numbers), status=TrainingRun.Status.FINISHED)
        finished = set(map(str, rows.values_list("pk", flat=True)))
        store().take_away(name for name in late if name.split("/")[1] in finished)
