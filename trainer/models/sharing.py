"""Where photos and uploads go and come from where hosts share a storage (breedsite.storage)."""

import logging
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from django.conf import settings

from breedsite.storage import Broken, Piece, StorageAway, always, store
from classifier.models import pieces
from classifier.models.keeping import folders_of, make_room, tidy_here, tidy_there
from classifier.sources.listing import SourceError
from classifier.uploads import Growing, Upload
from trainer.ingest import download
from trainer.models.leftovers import UNPUBLISHED, own_folder

if TYPE_CHECKING:
    from trainer.models.dataset import Dataset

log = logging.getLogger(__name__)

DATASETS, UPLOADS = "datasets", "uploads"


# --- photos -----------------------------------------------------------------------------------------------------------
def piece(file: Path, sha256: str) -> Piece:
    """A photo in the folder of its dataset: <folder>/<aa>/<sha256>.<suffix>."""
    return Piece(f"{DATASETS}/{file.parent.parent.name}/{file.parent.name}/{file.name}", file, sha256)


def share_photos(folder: Path, *, going: Callable[[], bool] = always) -> None:
    """Put all photos of a dataset into the storage, with a mark that says that no row names them yet. Raises
    StorageAway, Cut, OSError."""
    if store().on:
        store().push([Piece(f"{DATASETS}/{folder.name}/{UNPUBLISHED}", folder / UNPUBLISHED)])
        store().push(
            (piece(file, file.stem) for file in sorted(folder.glob("[0-9a-f][0-9a-f]/[0-9a-f]*"))), going=going
        )
        store().cache.mark(DATASETS, folder.name)


def published(folder: Path) -> None:
    """A row names them now."""
    store().remove(f"{DATASETS}/{folder.name}/{UNPUBLISHED}.")


def bring_photos(dataset: "Dataset", *, going: Callable[[], bool] = always) -> None:
    """Get those of a dataset that are not here, or not whole. Raises SourceError, StorageAway, Cut, OSError."""
    if not store().on or not dataset.folder:
        return
    place = dataset.path

    def missing() -> Iterator[Piece]:
        rows = dataset.photos.order_by("pk").only("sha256", "suffix", "bytes")
        for photo in rows.iterator(chunk_size=2000):
            file = photo.file(place)
            if not file.exists() or file.stat().st_size != photo.bytes:
                yield piece(file, photo.sha256)

    try:
        came = store().fetch(missing(), going=going)
    except Broken as error:
        raise SourceError(f"A photo of {dataset} cannot be used: {error}") from error
    if came:
        log.info("%d photos of %s came from the storage.", came, dataset)
        store().cache.mark(DATASETS, dataset.folder)
        make_room((DATASETS, dataset.folder))


def bring_photo(file: Path, sha256: str) -> bool:
    """Get a single photo that is not here. False where there is none. Raises StorageAway, OSError."""
    if not store().on:
        return False
    try:
        store().fetch([piece(file, sha256)])
    except Broken as error:
        log.warning("%s", error)
        return False
    store().cache.mark(DATASETS, file.parent.parent.name)
    return True


def drop_photos(folder: str) -> None:
    """The dataset is deleted."""
    store().remove(f"{DATASETS}/{folder}/")
    store().cache.forget(DATASETS, folder)


# --- zips on their way ------------------------------------------------------------------------------------------------
def upload(dataset: "Dataset") -> Path:
    """Where the zip of a dataset lies on this host, whichever it came to."""
    return Path(settings.UPLOADS_DIR) / Path(dataset.source_path).name


def zip_of(file: Path) -> str:
    """What a zip is called in the storage."""
    return f"{UPLOADS}/{file.name}"


def received(coming: Upload) -> int:
    """Bytes of a zip that came, to whichever host. Raises StorageAway, OSError."""
    return coming.received if coming.whole.exists() else pieces.catch_up(coming, zip_of(coming.whole))


def append(coming: Upload, data: bytes, *, offset: int, total: int) -> int:
    """Take a piece; the bytes that are here now. Raises WrongPlace, UploadError, StorageAway, OSError."""
    return pieces.append(coming, zip_of(coming.whole), data, offset=offset, total=total)


def finish(coming: Upload) -> Path:
    """The whole zip under its last name, and all of it in the storage. Raises UploadError, StorageAway, OSError."""
    if not coming.whole.exists():
        received(coming)
    whole = coming.finish()
    pieces.share(whole, zip_of(whole))
    return whole


def bring_upload(dataset: "Dataset") -> Path:
    """The zip, here. Raises SourceError, StorageAway, OSError."""
    file = upload(dataset)
    if store().on and not file.exists():
        growing = Growing(file.with_suffix(".part"))
        if not pieces.bring(growing, zip_of(file)):
            raise SourceError("The zip that was sent is not in the storage, or not all of it: send it again.")
        growing.unfinished.rename(file)
    return file


def drop_upload(dataset: "Dataset") -> None:
    upload(dataset).unlink(missing_ok=True)
    store().remove(f"{zip_of(upload(dataset))}/")


def source(dataset: "Dataset") -> Path:
    """What an import reads, on this host. Raises SourceError, StorageAway, OSError."""
    if dataset.source_kind == dataset.SourceKind.UPLOAD:
        return bring_upload(dataset)
    path = Path(dataset.source_path)
    if dataset.source_kind == dataset.SourceKind.BUILTIN and path.name in download.SETS and not path.exists():
        return Path(settings.SETS_DIR) / path.name  # each host downloads its own
    return path


def tidy_datasets() -> None:
    """Remove what the storage, or this host from it, has of datasets and uploads that no row names."""
    from trainer.models.dataset import Dataset

    if not store().on:
        return
    rows = Dataset.objects.all()

    def known(names: set[str]) -> set[str]:
        held = rows.filter(status__in=Dataset.HELD, token__isnull=False).values_list("pk", "token")
        return folders_of(rows)(names) | {own_folder(pk, token) for pk, token in held if token is not None}

    tidy_here(DATASETS, known)
    tidy_there(DATASETS, known, mark=UNPUBLISHED)
    with suppress(StorageAway):
        old = store().abandoned(f"{UPLOADS}/") if store().is_due(UPLOADS) else []
        waiting = {
            Path(path).name for path in rows.filter(status__in=Dataset.ACTIVE).values_list("source_path", flat=True)
        }
        store().take_away(one.name for one in old if one.name.split("/")[1] not in waiting)
