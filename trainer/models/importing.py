"""One import from its claim to its end: nothing of it is seen before the last moment, nothing is left of half a one.

The photos are written into a folder of this attempt alone. At the end the folder gets its final name, and one
transaction makes rows of the photos and the dataset ready; who lost the claim meanwhile changes nothing. Whose worker
leaves gives the row back at once, and so has lost it. What a killed process leaves is removed by `leftovers.sweep`.
"""

import copy
import errno
import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from django.conf import settings
from django.db import Error, InterfaceError, OperationalError, connection, transaction

from breedsite.storage import WAIT_SECONDS, Cut, StorageAway, store
from classifier.guard import Limits
from classifier.sources.listing import SourceError
from trainer import report
from trainer.ingest import download, source
from trainer.ingest.store import Photo as Kept
from trainer.ingest.store import Unreadable, keep
from trainer.models import editing, sharing
from trainer.models.dataset import Dataset, Photo
from trainer.models.leftovers import UNFINISHED, UNPUBLISHED, own_folder, sweep

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0  # between two looks whether somebody cancelled, and two notes of the progress
ROWS = 1000  # inserted at a time
SEED, FRACTIONS = 1, (0.8, 0.1, 0.1)  # where nobody chose others
FULL = "The disk is full: there is less room than the photos need. Make some, then import them again."
LEAVE_SECONDS = 0.5  # after which an import has heard that its worker leaves, at most


class Ended(Exception):
    """The import is cancelled, or belongs to another process by now."""


@dataclass(frozen=True)
class Progress:
    """How far an import is."""

    done: int  # photos
    total: int
    elapsed_seconds: float

    @property
    def remaining_seconds(self) -> float | None:
        """None before the first photos tell."""
        return self.elapsed_seconds / self.done * (self.total - self.done) if self.done else None


def perform(
    dataset: Dataset,
    *,
    say: Callable[[Progress], None] = lambda progress: None,
    leaving: Callable[[], bool] = lambda: False,
) -> None:
    """Import a dataset that was claimed. Its row tells the end: ready, refused, failed or cancelled; or it waits again,
    where this process was asked to go by `leaving`."""
    assert dataset.token is not None
    folder = Path(settings.DATASETS_DIR) / own_folder(dataset.pk, dataset.token)
    staging = folder.with_name(folder.name + UNFINISHED)
    try:
        parent = dataset.parent
        with heart(dataset, leaving), store().holding(sharing.DATASETS, parent.folder if parent else "none"):
            folder.parent.mkdir(parents=True, exist_ok=True)
            sweep(Dataset.objects.all())
            if parent:
                sharing.bring_photos(parent, going=partial(goes_on, dataset))
                content, rows = editing.edited(dataset, parent, staging)
            else:
                content = examined(dataset, staging, say)
                rows = batches(dataset, content)
            if content.refusals:
                finished(dataset, Dataset.Status.REFUSED, content.refusals[0], report=content.report)
            else:
                publish(dataset, content, rows, staging, folder)
    except SourceError as error:
        finished(dataset, Dataset.Status.REFUSED, str(error))
    except (Ended, Cut):
        finished(dataset, Dataset.Status.CANCELLED)
    except KeyboardInterrupt:
        finished(dataset, Dataset.Status.CANCELLED)
        raise
    except StorageAway as error:
        dataset.wait(str(error), WAIT_SECONDS)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        finished(dataset, Dataset.Status.FAILED, FULL if full else f"The photos could not be stored: {error.strerror}.")
        log.warning("%s: %s", dataset, error)
    except (OperationalError, InterfaceError) as error:
        connection.close()
        dataset.died(f"The database could not be used: {error}")
    except Exception:
        finished(dataset, Dataset.Status.FAILED, "The import failed for a reason nobody thought of: see the log.")
        raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def examined(dataset: Dataset, staging: Path, say: Callable[[Progress], None]) -> report.Content:
    """Every photo read once and kept in `staging`. Raises SourceError, Ended, OSError."""
    options = dataset.options
    layout = source.layout(place(dataset), options.get("rename"))
    photos: list[Kept] = []
    unreadable: list[Unreadable] = []
    began = looked = time.monotonic()
    total = len(layout.records)
    reached = dataset.progress_done  # by the attempt before: who comes further has not died in vain
    alive(dataset, progress_done=0, progress_total=total)
    kept = keep(
        layout.records,
        staging,
        count=total,
        sandboxes=settings.CORES,
        limits=Limits(max_bytes=settings.MAX_IMAGE_BYTES),
    )
    for done, one in enumerate(kept, start=1):
        if isinstance(one, Kept):
            photos.append(one)
        else:
            unreadable.append(one)
        if time.monotonic() - looked > LOOK_SECONDS:
            looked = time.monotonic()
            alive(dataset, progress_done=done, **({"deaths": 0} if done > reached else {}))
            say(Progress(done, total, looked - began))
    content = report.examine(
        layout, photos, unreadable, seed=options.get("seed", SEED), fractions=tuple(options.get("fractions", FRACTIONS))
    )
    alive(dataset, progress_done=total)
    say(Progress(total, total, time.monotonic() - began))
    return content


def place(dataset: Dataset) -> Path:
    """Where its photos lie, once a set that everybody knows is downloaded. Raises SourceError, Ended, OSError."""
    path = sharing.source(dataset)
    if path.parent != Path(settings.SETS_DIR) or path.name not in download.SETS:
        return path
    looked = time.monotonic()

    def say(_received: int) -> None:
        nonlocal looked
        if time.monotonic() - looked > LOOK_SECONDS:
            looked = time.monotonic()
            alive(dataset)

    return download.fetch(path.name, path, say=say)


def alive(dataset: Dataset, **progress: int) -> None:
    """Say how far it is; raises Ended where it should not go on."""
    if not dataset.beat(**progress) or dataset.stop_requested:
        raise Ended


def goes_on(dataset: Dataset) -> bool:
    """Whether it should go on; how far it is stays."""
    return dataset.beat() and not dataset.stop_requested


def publish(
    dataset: Dataset, content: report.Content, rows: Iterator[list[Photo]], staging: Path, folder: Path
) -> None:
    """Make the photos visible, all at once, or none of them."""
    (staging / "thumbnails").unlink(missing_ok=True)
    (staging / UNPUBLISHED).touch()
    os.sync()  # the files lie on the disk before a row says so
    staging.rename(folder)
    counts = {part: content.parts.count(part) for part in Photo.Part.values}
    try:
        sharing.share_photos(folder, going=partial(goes_on, dataset))
        with transaction.atomic():
            for some in rows:
                Photo.objects.bulk_create(some)
            ours = dataset.finish(
                Dataset.Status.READY,
                labels=content.labels,
                fingerprint=content.fingerprint,
                report=content.report,
                counts=counts,
                folder=folder.name,
            )
            if not ours:
                raise Ended
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        sharing.drop_photos(folder.name)
        raise
    (folder / UNPUBLISHED).unlink(missing_ok=True)
    sharing.published(folder)
    discard_upload(dataset)


def batches(dataset: Dataset, content: report.Content) -> Iterator[list[Photo]]:
    for start in range(0, len(content.photos), ROWS):
        indices = range(start, min(start + ROWS, len(content.photos)))
        yield [row(dataset, content, index) for index in indices]


def row(dataset: Dataset, content: report.Content, index: int) -> Photo:
    photo = content.photos[index]
    return Photo(
        dataset=dataset,
        label=photo.label,
        part=content.parts[index],
        sha256=photo.sha256.hex(),
        suffix=photo.suffix,
        pixels=photo.fingerprint.pixels.hex(),
        phash=f"{photo.fingerprint.hash:016x}",
        group=content.groups[index],
        flag=content.flags[index],
        name=photo.name,
        bytes=photo.bytes,
        width=photo.width,
        height=photo.height,
    )


def finished(dataset: Dataset, status: str, sentence: str = "", **fields: object) -> None:
    if dataset.finish(status, sentence, **fields):
        log.info("%s is %s. %s", dataset, status, sentence)
        discard_upload(dataset)
    else:
        log.info("%s went on elsewhere: what this process did of it is forgotten.", dataset)


def discard_upload(dataset: Dataset) -> None:
    """The zip that a browser sent is not needed any more, however the import ended."""
    if dataset.source_kind == Dataset.SourceKind.UPLOAD:
        sharing.drop_upload(dataset)


def cancel(dataset: Dataset) -> bool:
    """Ask for the end of an import. False where it has ended already."""
    done = dataset.stop()
    if done and dataset.status == Dataset.Status.CANCELLED:  # it had not begun: no process will do it
        discard_upload(dataset)
    return done


@contextmanager
def heart(dataset: Dataset, leaving: Callable[[], bool]) -> Iterator[None]:
    """Beats from a thread of its own while photos are compared and stored, which takes minutes without a word, and
    gives the row back where the worker leaves in the middle of that."""
    over = threading.Event()
    ours = copy.copy(dataset)

    def beat() -> None:
        beaten = time.monotonic()
        while not over.wait(min(LEAVE_SECONDS, settings.HEARTBEAT_SECONDS)):
            try:
                if leaving():
                    if ours.give_back():
                        log.info("%s waits in the queue again, for its worker leaves.", dataset)
                    return
                if time.monotonic() - beaten > settings.HEARTBEAT_SECONDS:
                    beaten = time.monotonic()
                    ours.beat()
            except Error as error:
                log.warning("The heartbeat of %s was not written: %s", dataset, error)
            finally:
                connection.close()

    thread = threading.Thread(target=beat, name="heart", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
