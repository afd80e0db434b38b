"""What a worker does for batches: it looks which photos are there, and answers them chunk by chunk."""

import logging
import os
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from itertools import groupby
from pathlib import Path

from django.conf import settings
from django.db import InterfaceError, OperationalError

from breedsite.holding import Heart
from breedsite.jobs import JobQuerySet
from breedsite.storage import WAIT_SECONDS, Broken, StorageAway, store
from classifier.artifact import ArtifactError, DeviceLost
from classifier.decoding import Decoders
from classifier.devices import places
from classifier.ensemble import Combine, Decoded, Ensemble, Found, NotTogether
from classifier.guard import Limits, Refused
from classifier.models.batch import Batch
from classifier.models.chunk import BatchItem, Chunk
from classifier.models.keeping import BATCHES, bring_photos, bring_zip
from classifier.sandbox import Sandbox
from classifier.sources import archive, folder
from classifier.sources.archive import ZipLimits
from classifier.sources.listing import Listing, SourceError

log = logging.getLogger(__name__)

CHUNK = 256  # photos that one process takes at a time
GROUP = 16  # photos that go through the network together: on a processor more are no quicker
GROUP_ON_GPU = 128
AGAIN = 75  # what a process ends with that asks to be started again
AWAY = (OperationalError, InterfaceError)


def claim(chunks: JobQuerySet[Chunk] | None = None) -> Chunk | None:
    """The oldest chunk that is due, on the first device of this machine that is free: none answers two at a time."""
    waiting = Chunk.objects.all() if chunks is None else chunks
    for device in places(settings.TORCH_DEVICE):
        if (chunk := waiting.claim_next(device=f"{os.uname().nodename} {device}")) is not None:
            return chunk
    return None


def enlist(batch: Batch) -> None:
    """Look which photos a claimed batch has, and make chunks of them. Its row tells the end."""
    try:
        with Heart(batch):
            names, notes = contents(batch)
            if not names:
                raise SourceError("There is no photo in it.", "no_images")
            batch.listed(names, chunk_size=CHUNK, notes=notes)
    except SourceError as error:
        batch.finish(Batch.Status.FAILED, str(error))
    except StorageAway as error:
        batch.wait(str(error), WAIT_SECONDS)
    except OSError as error:
        batch.finish(Batch.Status.FAILED, f"The photos cannot be read: {error.strerror}.")
        log.warning("%s: %s", batch, error)


def contents(batch: Batch) -> tuple[list[str], list[str]]:
    """The names of its photos in order, and what a person should know. Raises SourceError."""
    if batch.source_kind == Batch.SourceKind.FILES:
        return list(batch.items.order_by("position").values_list("name", flat=True)), []
    listing = listed(batch)
    links = [f"{len(listing.closed)} links and hidden folders were passed over."] if listing.closed else []
    return ["/".join(parts) for parts in listing.files], [*listing.notes, *links]


def listed(batch: Batch) -> Listing:
    """The files of a zip or folder. Raises SourceError."""
    sent = batch.source_kind == Batch.SourceKind.ZIP
    if sent:
        try:
            bring_zip(batch)
        except Broken as error:
            raise SourceError(f"The zip that was sent cannot be read: {error}") from error
    path = batch.folder / "photos.zip" if sent else Path(batch.source_path)
    most = settings.MAX_IMAGE_BYTES
    if path.is_dir():
        return folder.listing(path, most)
    try:
        found = path.stat()
    except FileNotFoundError:
        return unpacked(path, 0, 0, most)  # which says so
    return unpacked(path, found.st_mtime_ns, found.st_size, most)


@lru_cache(maxsize=1)
def unpacked(path: Path, _changed_ns: int, _bytes: int, max_bytes: int) -> Listing:
    """The members of a zip, kept from chunk to chunk: to check the directory of 200,000 takes seconds. Raises
    SourceError."""
    return archive.listing(path, ZipLimits(max_member_bytes=ZipLimits.max_total_bytes), max_bytes=max_bytes)


def reader(batch: Batch) -> Callable[[BatchItem], bytes]:
    """What gives the bytes of one of its photos; that raises Refused where there are none. Raises SourceError."""
    if batch.source_kind == Batch.SourceKind.FILES:
        return lambda item: stored(batch, item)
    files = listed(batch).files

    def read(item: BatchItem) -> bytes:
        try:
            return files[tuple(item.name.split("/"))]()
        except KeyError:
            raise Refused("not_found", "This photo is not in its folder any more.") from None
        except SourceError as error:
            raise Refused("image_corrupt", str(error)) from error

    return read


def stored(batch: Batch, item: BatchItem) -> bytes:
    # Those that came before files had names of their own are named by their place.
    file = batch.folder / "files" / (item.file or f"{item.position:06d}")
    try:
        bring_photos(batch, [item])
        return file.read_bytes()
    except FileNotFoundError:
        raise Refused("not_found", "This photo is gone.") from None
    except Broken as error:
        raise Refused("not_found", str(error)) from error


def decoding() -> Decoders:
    """As many sandboxes as there are cores, for one chunk after the other."""
    return Decoders(settings.CORES, Limits(max_bytes=settings.MAX_IMAGE_BYTES))


def predict(chunk: Chunk, decoders: Decoders, *, leaving: Callable[[], bool] = lambda: False) -> None:
    """Answer a claimed chunk to its end, or as far as it gets: where this process is asked to go, by `leaving`, the
    chunk waits again and whoever claims it goes on."""
    batch = chunk.batch
    try:
        with Heart(chunk) as heart, store().holding(BATCHES, str(batch.pk)):
            for group in answered(batch, chunk, decoders):
                if not chunk.answered(group):
                    log.warning("%s are no longer ours: what was found in the last of them is dropped.", chunk)
                    return
                if heart.stop_requested:
                    chunk.finish(Chunk.Status.STOPPED)
                    break
                if leaving():
                    chunk.give_back()
                    break
            else:
                chunk.finish(Chunk.Status.FINISHED)
    except StorageAway as error:
        chunk.wait(str(error), WAIT_SECONDS)
    except (ArtifactError, NotTogether, SourceError) as error:
        chunk.finish(Chunk.Status.FAILED, str(error))
    except OSError as error:
        chunk.finish(Chunk.Status.FAILED, f"The photos cannot be read: {error.strerror}.")
        log.warning("%s: %s", chunk, error)
    except DeviceLost as error:
        chunk.died(f"{error}: it is tried again in a new process.")
        log.critical("%s; this process ends, for only another one can use the device again.", error)
        os._exit(AGAIN)
    except AWAY as error:
        log.warning("%s wait for the database, and for who takes them back: %s", chunk, error)
        return
    batch.settle()


def answered(batch: Batch, chunk: Chunk, decoders: Decoders) -> Iterator[list[BatchItem]]:
    """Its photos that nobody answered yet, group by group, with what was found. Raises ArtifactError, NotTogether,
    SourceError, OSError."""
    ours = batch.items.filter(position__gte=chunk.start, position__lt=chunk.stop_at)
    chunk.progress_done = ours.exclude(status=BatchItem.Status.PENDING).count()
    left = list(ours.filter(status=BatchItem.Status.PENDING).order_by("position"))
    if not left:
        return
    device = chunk.device.rpartition(" ")[2]
    folders = tuple((version.path, version.digest) for version in batch.members)
    for version in batch.members:
        version.bring()
    ensemble = loaded(folders, Combine(batch.combine), device)
    try:
        bring_photos(batch, left)  # many at once; one that is lost is told in its row
    except Broken as error:
        log.warning("%s: %s", chunk, error)
    read = reader(batch)
    size = GROUP if device == "cpu" else GROUP_ON_GPU

    def see(sandbox: Sandbox, item: BatchItem) -> Decoded:
        return ensemble.decode(sandbox, read(item))

    seen = decoders.in_order(left, see, ahead=2 * size)  # the next group, while the network has one
    # By place and not by count, so that who goes on in the middle puts the same photos together.
    for _, group in groupby(seen, key=lambda pair: (pair[0].position - chunk.start) // size):
        yield filled(ensemble, group)
    Batch.objects.filter(pk=batch.pk).update(device=ensemble.device)


def filled(ensemble: Ensemble, group: Iterable[tuple[BatchItem, Decoded | Refused]]) -> list[BatchItem]:
    """Rows that tell what was found, or why not."""
    pairs = list(group)
    found = iter(ensemble.answer([outcome for _, outcome in pairs if isinstance(outcome, Decoded)]))
    for item, outcome in pairs:
        if isinstance(outcome, Refused):
            refused(item, outcome)
        else:
            tell(item, next(found), ensemble.labels, animated=outcome.animated)
    return [item for item, _ in pairs]


def refused(item: BatchItem, refusal: Refused) -> None:
    item.status, item.code, item.sentence = BatchItem.Status.REFUSED, refusal.code, refusal.sentence


def tell(item: BatchItem, found: Found, labels: tuple[str, ...], *, animated: bool) -> None:
    item.status, item.animated = BatchItem.Status.ANSWERED, animated
    item.label, item.probability, item.sure = labels[found.index], float(found.probabilities[found.index]), found.sure
    item.probabilities = found.probabilities.astype("<f4").tobytes()


@lru_cache(maxsize=1)
def loaded(folders: tuple[tuple[Path, str], ...], combine: Combine, device: str) -> Ensemble:
    """Kept from chunk to chunk."""
    if not folders:
        raise ArtifactError("The versions that were to answer are not installed any more.")
    return Ensemble.load(folders, combine, threads=settings.CORES, device=device)
