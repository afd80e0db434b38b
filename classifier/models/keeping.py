"""Where the folders of versions go and come from where hosts share a storage (breedsite.storage)."""

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from django.db import models

from breedsite.storage import ABANDONED_SECONDS, Broken, Piece, StorageAway, named, store
from classifier import artifact
from classifier.artifact import AlreadyThere, ArtifactError
from classifier.spec import FILES, Spec

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
        make_room()
    elif store().cache.has(VERSIONS, folder.name):
        store().cache.mark(VERSIONS, folder.name)  # it is used now


def drop_version(folder: Path) -> None:
    """It is no version any more. What other hosts have of it goes when they need the room."""
    store().remove(f"{VERSIONS}/{folder.name}/")
    store().cache.forget(VERSIONS, folder.name)


def make_room() -> None:
    """Keep the cache of this host within its bound; the version that answers stays, for the storage may go away."""
    from classifier.models.version import ModelVersion

    if store().on:
        active = ModelVersion.objects.filter(is_active=True).values_list("folder", flat=True)
        store().make_room(keep={(VERSIONS, folder) for folder in active})


def tidy(kind: str, known: Callable[[set[str]], set[str]]) -> None:
    """Remove the folders of this kind that no row names: of those with these names `known` tells which are. Here only
    what came from the storage; young ones may be of a row that is not committed yet."""
    if not store().on:
        return
    here = {name for name, used in store().cache.names(kind).items() if time.time() - used > ABANDONED_SECONDS}
    there: dict[str, list[str]] = {}
    with suppress(StorageAway):  # looked at again later
        for entry in store().abandoned(f"{kind}/"):
            there.setdefault(entry.name.split("/")[1], []).append(entry.name)
    unknown = (here | there.keys()) - known(here | there.keys()) if here or there else set()
    for name in unknown:
        store().cache.forget(kind, name)
        with suppress(StorageAway):
            store().take_away(there.get(name, []))


def folders_of(rows: models.QuerySet[Any]) -> Callable[[set[str]], set[str]]:
    """Tells which folders the rows name by their field `folder`."""
    return lambda names: set(rows.filter(folder__in=names).values_list("folder", flat=True))


def tidy_versions() -> None:
    from classifier.models.version import ModelVersion

    tidy(VERSIONS, folders_of(ModelVersion.objects.all()))
