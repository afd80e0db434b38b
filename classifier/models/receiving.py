"""Photos on their way into a batch that is open: by the handful in files of their own, or as a zip in pieces."""

import hashlib
import secrets
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from django.conf import settings
from django.db import transaction
from django.db.models import Max

from breedsite.storage import Broken, store
from classifier.guard import Limits, check
from classifier.models.batch import MOST_FILES, Batch
from classifier.models.chunk import BatchItem
from classifier.models.keeping import BATCHES, bring_zip, share_photos, share_zip, zip_of
from classifier.models.pieces import append
from classifier.problems import Refused
from classifier.uploads import ZIP_STARTS, Growing, UploadError, WrongPlace

LONGEST_NAME = 500  # characters of a file's name


def receive(batch: Batch, sent: Sequence[tuple[str, bytes]]) -> list[BatchItem]:
    """Take files by name: pictures, or one zip alone. The rows of the pictures. Raises Refused, OSError.

    What is no picture that can be used gets its row with the reason at once, and nothing of it is kept.
    """
    zips = [name for name, data in sent if data.startswith(ZIP_STARTS)]
    if zips and len(sent) > 1:
        raise Refused("malformed_request", "Send pictures, or one zip alone: what is in it becomes a row each.")
    if zips:
        [(name, data)] = sent
        receive_piece(batch, data, offset=0, total=len(data), name=name)
        return []
    folder = batch.folder / "files"
    folder.mkdir(parents=True, exist_ok=True)
    limits = Limits(max_bytes=settings.MAX_IMAGE_BYTES)
    came: list[BatchItem] = []
    try:
        for name, data in sent:
            came.append(item := BatchItem(batch=batch, name=plain(name)))
            store_unless_refused(item, data, folder, limits)
        share_photos(batch, came)
        with transaction.atomic():
            at = place(batch, Batch.SourceKind.FILES)
            if at + len(came) > MOST_FILES:
                raise Refused("malformed_request", f"A batch takes {MOST_FILES:,} files one by one: send a zip.")
            for position, item in enumerate(came, at):
                item.position = position
            BatchItem.objects.bulk_create(came, batch_size=500)
    except BaseException:
        for item in came:
            if item.file:
                (folder / item.file).unlink(missing_ok=True)  # it was for nothing
                store().remove(f"{BATCHES}/{batch.pk}/files/{item.file}.")
        raise
    return came


def store_unless_refused(item: BatchItem, data: bytes, folder: Path, limits: Limits) -> None:
    """Keep the bytes of a photo in a file that `item` names, or tell there why it cannot be used."""
    try:
        check(data, limits)
    except Refused as refusal:
        item.refuse(refusal)
        return
    item.file = f"{hashlib.sha256(data).hexdigest()}-{secrets.token_hex(4)}"
    (folder / item.file).write_bytes(data)


def receive_piece(batch: Batch, data: bytes, *, offset: int, total: int, name: str = "") -> int:
    """Take a piece of a zip; how many bytes of it are here now. Raises Refused, OSError."""
    with transaction.atomic():
        place(batch, Batch.SourceKind.ZIP, name)
    whole = batch.folder / "photos.zip"
    here = arrived(batch)
    if whole.exists() and offset != here:
        raise elsewhere(here)
    if whole.exists():
        return here
    try:
        here = append(Growing(whole.with_suffix(".part")), zip_of(batch), data, offset=offset, total=total)
    except WrongPlace as error:
        raise elsewhere(error.received) from error
    except UploadError as error:
        raise Refused(error.code, str(error), about_the_picture=False) from error
    if here == total:
        whole.with_suffix(".part").rename(whole)
    return here


def elsewhere(received: int) -> Refused:
    return Refused("wrong_offset", f"{received} bytes of the zip are here: go on after them.", received=received)


def arrived(batch: Batch) -> int:
    """Bytes of its zip that are here."""
    whole = batch.folder / "photos.zip"
    with suppress(FileNotFoundError):
        return whole.stat().st_size
    return Growing(whole.with_suffix(".part")).received


def place(batch: Batch, kind: str, name: str = "") -> int:
    """The position of the next photo, in a transaction that nobody else's photos come between. Raises Refused."""
    locked = Batch.objects.select_for_update().filter(pk=batch.pk).first()
    if locked is None or locked.status != Batch.Status.RECEIVING:
        raise Refused("wrong_state", "This batch takes no more photos: begin a new one.")
    if locked.source_kind not in ("", kind):
        raise Refused("wrong_state", "A batch takes pictures or one zip, not both: begin a new one.")
    if not locked.source_kind or name:
        batch.source_kind, batch.source_name = kind, plain(name)[-255:] if name else ""
        Batch.objects.filter(pk=batch.pk).update(source_kind=kind, source_name=batch.source_name)
    last = locked.items.aggregate(last=Max("position"))["last"]
    return 0 if last is None else last + 1


def start(batch: Batch) -> None:
    """All has come: it may be answered. Raises Refused, StorageAway."""
    batch.refresh_from_db()
    if batch.status == Batch.Status.RECEIVING and batch.source_kind == Batch.SourceKind.ZIP:
        with suppress(Broken):  # not all of it came, whichever host it came to
            bring_zip(batch)
    if batch.status != Batch.Status.RECEIVING:
        raise Refused("wrong_state", f"This batch was started before: it is {batch.get_status_display()}.")
    if batch.source_kind == Batch.SourceKind.ZIP and not (batch.folder / "photos.zip").exists():
        raise Refused("wrong_state", f"The zip has not come whole: {arrived(batch)} bytes of it are here.")
    if batch.source_kind != Batch.SourceKind.ZIP and not batch.items.exists():
        raise Refused("wrong_state", "No photo has come yet: send some first.")
    if batch.source_kind == Batch.SourceKind.ZIP:
        share_zip(batch)
    if not batch.send_off():
        raise Refused("wrong_state", "This batch was started just now.")


def plain(name: str) -> str:
    """A file's name as text that every database takes."""
    return name.replace("\0", "").encode("utf-8", "replace").decode()[-LONGEST_NAME:] or "unnamed"
