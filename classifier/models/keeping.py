"""Where the folders of versions and batches go and come from where hosts share a storage (breedsite.storage)."""

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.db import Error, models

from breedsite.storage import ABANDONED_SECONDS, Broken, Piece, StorageAway, named, store
from classifier import artifact
from classifier.artifact import AlreadyThere, ArtifactError
from classifier.models import pieces as pieces_of_zip
from classifier.spec import FILES, Spec
from classifier.uploads import Growing

if TYPE_CHECKING:
    from classifier.models.batch import Batch
    from classifier.models.chunk import BatchItem

log = logging.getLogger(__name__)

VERSIONS, BATCHES = "versions", "batches"


def pieces(folder: Path, name: str, spec: Spec) -> list[Piece]:
    """The files of a version but for spec.json, which tells of them."""
    return [Piece(f"{VERSIONS}/{name}/{file}", folder / file, spec.files[file].sha256) for file in FILES]


def share_version(folder: Path, spec: Spec, digest: str) -> None:
    """Put an installed version into the storage, unless it is there. Raises StorageAway, OSError."""
    if not store().on:
        return
    files = [
        *pieces(folder, folder.name, spec),
        Piece(f"{VERSIONS}/{folder.name}/spec.json", folder / "spec.json", digest),
    ]
    there = {named(entry) for entry in store().entries(f"{VERSIONS}/{folder.name}/")}
    store().push(piece for piece in files if piece.name not in there)
    store().cache.mark(VERSIONS, folder.name)


def bring_version(folder: Path, digest: str) -> None:
    """Get a version that is not here from the storage. Raises ArtifactError, StorageAway, OSError."""
    if not store().on:
        return
    if not folder.is_dir():
        try:
            with suppress(AlreadyThere), artifact.appearing(folder) as place:
                store().fetch([Piece(f"{VERSIONS}/{folder.name}/spec.json", place / "spec.json", digest)])
                store().fetch(pieces(place, folder.name, artifact.read(place)))
        except Broken as error:
            raise ArtifactError(str(error)) from error
        store().cache.mark(VERSIONS, folder.name)
        make_room((VERSIONS, folder.name))
    elif store().cache.has(VERSIONS, folder.name):
        store().cache.mark(VERSIONS, folder.name)  # it is used now


def drop_version(folder: Path) -> None:
    """It is no version any more. What other hosts have of it goes when they need the room."""
    store().remove(f"{VERSIONS}/{folder.name}/")
    store().cache.forget(VERSIONS, folder.name)


def make_room(*fresh: tuple[str, str]) -> None:
    """Keep the cache of this host within its bound. The version that answers stays, for the storage may go away; so do
    the `fresh` folders, by kind and name, for somebody is about to read them."""
    from classifier.models.version import ModelVersion

    if store().on:
        active = ModelVersion.objects.filter(is_active=True).values_list("folder", flat=True)
        with suppress(Error):  # while the database is away nothing is removed
            store().make_room(keep={(VERSIONS, folder) for folder in active} | set(fresh))


def tidy_here(kind: str, known: Callable[[set[str]], set[str]]) -> None:
    """Remove the folders of this kind that came from the storage and that no row names: of those with these names
    `known` tells which are. Young ones may be of a row that is not committed yet."""
    if not store().on:
        return
    store().settle()
    old = {name for name, used in store().cache.names(kind).items() if time.time() - used > ABANDONED_SECONDS}
    for name in old - known(old) if old else ():
        store().cache.forget(kind, name)


def tidy_there(kind: str, known: Callable[[set[str]], set[str]], *, mark: str = "") -> None:
    """The same for the folders of the storage; with a `mark` only those that have an object of this name: whoever names
    another database must not lose what the rows of the first one name."""
    if not store().is_due(kind):
        return
    with suppress(StorageAway):  # looked at again later
        there = store().folders(kind)
        for name in there - known(there) if there else ():
            all_of_it = store().entries(f"{kind}/{name}/")
            marked = not mark or any(named(one) == f"{kind}/{name}/{mark}" for one in all_of_it)
            if marked and all(one.modified < time.time() - ABANDONED_SECONDS for one in all_of_it):
                store().take_away(one.name for one in all_of_it)
                log.info("Removed %s/%s from the storage: no row names it.", kind, name)


def folders_of(rows: models.QuerySet[Any]) -> Callable[[set[str]], set[str]]:
    """Tells which folders the rows name by their field `folder`."""
    return lambda names: set(rows.filter(folder__in=names).values_list("folder", flat=True))


# --- batches ----------------------------------------------------------------------------------------------------------
def photo(batch: "Batch", item: "BatchItem") -> Piece:
    """A photo that was sent by itself; its name begins with its sha256."""
    return Piece(f"{BATCHES}/{batch.pk}/files/{item.file}", batch.folder / "files" / item.file, item.file[:64])


def share_photos(batch: "Batch", items: Sequence["BatchItem"]) -> None:
    """Put the photos of these rows into the storage, those that have one. Raises StorageAway, OSError."""
    if store().on and any(item.file for item in items):
        store().push(photo(batch, item) for item in items if item.file)
        store().cache.mark(BATCHES, str(batch.pk))


def bring_photos(batch: "Batch", items: Iterable["BatchItem"]) -> None:
    """Get those that are not here. Raises Broken, StorageAway, OSError."""
    if not store().on:
        return
    pieces = (photo(batch, item) for item in items if item.file)
    if store().fetch(piece for piece in pieces if not piece.file.exists()):
        store().cache.mark(BATCHES, str(batch.pk))
        make_room((BATCHES, str(batch.pk)))


def zip_of(batch: "Batch") -> str:
    """What its zip is called in the storage."""
    return f"{BATCHES}/{batch.pk}/photos.zip"


def share_zip(batch: "Batch") -> None:
    """All of its zip is in the storage. Raises StorageAway, OSError."""
    if store().on:
        pieces_of_zip.share(batch.folder / "photos.zip", zip_of(batch))
        store().cache.mark(BATCHES, str(batch.pk))


def bring_zip(batch: "Batch") -> None:
    """Get its zip, where it is not here: it may be large, so one process of this host does. Raises Broken,
    StorageAway, OSError."""
    file = batch.folder / "photos.zip"
    if not store().on or file.exists():
        return
    with store().cache.alone(BATCHES, str(batch.pk)):
        if not file.exists():
            growing = Growing(file.with_suffix(".part"))
            if not pieces_of_zip.bring(growing, zip_of(batch)):
                raise Broken(f"{zip_of(batch)} is not in the storage, or not all of it.")
            growing.unfinished.rename(file)
            store().cache.mark(BATCHES, str(batch.pk))
            make_room((BATCHES, str(batch.pk)))


def drop_batch(pk: int) -> None:
    """Its photos are not kept any longer."""
    store().remove(f"{BATCHES}/{pk}/")
    store().cache.forget(BATCHES, str(pk))


def tidy_batches() -> None:
    from classifier.models.batch import Batch

    def known(names: set[str]) -> set[str]:
        rows = Batch.objects.filter(pk__in=filter(str.isdecimal, names), photos_gone_at=None)
        return set(map(str, rows.values_list("pk", flat=True)))

    tidy_here(BATCHES, known)
    tidy_there(BATCHES, known)


def tidy_versions() -> None:
    from classifier.models.version import ModelVersion

    tidy_here(VERSIONS, folders_of(ModelVersion.objects.all()))
