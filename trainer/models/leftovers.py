"""What imports that were killed leave on the disk, found without asking them and removed."""

import logging
import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models import Max, Q

from breedsite.jobs import JobQuerySet

log = logging.getLogger(__name__)

UNFINISHED = ".tmp"  # the end of the name of a folder that an import writes into
UNPUBLISHED = "unpublished"  # a file in a whole folder, until a row names that
ABANDONED_SECONDS = 24 * 3600.0  # an upload that no dataset waits for


def own_folder(pk: int, token: UUID) -> str:
    """The name that the photos of one attempt get at its end."""
    return f"{pk}-{token.hex[:12]}"


def sweep(datasets: JobQuerySet[Any]) -> None:
    """Remove the folders of imports that came to no end and that no row of all `datasets` names, and the uploads that
    no row waits for. Published folders stay: whoever names another database must not lose the photos of the first."""
    place = Path(settings.DATASETS_DIR)
    marked = {file.parent for file in place.glob(f"*/{UNPUBLISHED}")}
    # before the rows are read: an import has its row before its folder
    found = marked | set(place.glob(f"*{UNFINISHED}"))
    known = set()
    rows = datasets.filter(Q(status__in=datasets.model.HELD) | ~Q(folder=""))  # in one query: a row may end meanwhile
    for pk, token, folder in rows.values_list("pk", "token", "folder"):
        known.add(folder)
        if token is not None:
            known |= {own_folder(pk, token), own_folder(pk, token) + UNFINISHED}
    for unknown in found:
        if unknown.name not in known:
            shutil.rmtree(unknown, ignore_errors=True)
            log.info("Removed %s, which an import left unfinished.", unknown.name)
    sweep_uploads(datasets)


def sweep_uploads(datasets: JobQuerySet[Any]) -> None:
    """Remove the zips of datasets that have ended since these came, and old ones that became no dataset."""
    files = list(Path(settings.UPLOADS_DIR).glob("*"))  # before the rows are read
    rows = datasets.filter(source_kind="upload")
    if not files:
        return
    # By the name alone: a zip that came to another host lies here under a path of this one.
    active = rows.filter(status__in=datasets.model.ACTIVE).values_list("source_path", flat=True)
    waiting = {Path(path).name for path in active}
    named = Q()
    for file in files:
        named |= Q(source_path__endswith=f"/{file.name}")
    last_end = rows.filter(named).values_list("source_path").annotate(last=Max("finished_at")).order_by()
    ended = {Path(path).name: last for path, last in last_end}
    for file in files:
        with suppress(OSError):  # it has just got its last name, or is somebody else's
            came = file.stat().st_mtime
            last = ended.get(file.name)
            over = (last is not None and came < last.timestamp()) or time.time() - came > ABANDONED_SECONDS
            if over and file.name not in waiting:
                file.unlink()
                log.info("Removed %s, an upload that no dataset waits for.", file.name)
