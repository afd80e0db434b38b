"""The JSON of batches: what a batch and each of its rows look like from outside. Positions count from 1, as in CSV."""

from collections.abc import Sequence
from typing import Any

from django.db.models import Count
from django.urls import reverse

from classifier.models import Batch, BatchItem
from classifier.models.outlook import eta_seconds
from classifier.results import TOP, Row, top


def counts_of(batches: Sequence[Batch]) -> dict[int, dict[str, int]]:
    """Of each batch how many rows have which status, by one query."""
    found = {batch.pk: dict.fromkeys(BatchItem.Status.values, 0) for batch in batches}
    rows = BatchItem.objects.filter(batch__in=found).order_by().values_list("batch", "status").annotate(n=Count("pk"))
    for pk, status, n in rows:
        found[pk][status] = n
    return found


def short_as_json(batch: Batch) -> dict[str, Any]:
    """As a line of a list."""
    return as_json(batch, batch.counts)


def whole_as_json(batch: Batch) -> dict[str, Any]:
    """Of one batch also its labels."""
    return {**as_json(batch, batch.counts), "labels": batch.labels}


def as_json(batch: Batch, counts: dict[str, int]) -> dict[str, Any]:
    eta = eta_seconds(batch)
    active = batch.status in Batch.ACTIVE
    return {
        "id": batch.pk,
        "name": batch.name,
        "status": batch.status,
        "active": active,
        "progress": {"done": batch.progress_done, "total": batch.progress_total or sum(counts.values())},
        "eta_seconds": None if eta is None else round(eta, 1),
        "counts": counts,
        "versions": [str(version) for version in batch.members],
        "combine": batch.combine,
        "source": {"kind": batch.source_kind, "name": batch.source_name},
        "notes": batch.notes,
        "failure": batch.failure or None,
        "device": batch.device or None,
        "owner": batch.created_by.get_username() if batch.created_by else None,
        "created_at": batch.created_at.isoformat(),
        "started_at": batch.started_at.isoformat() if batch.started_at else None,
        "finished_at": batch.finished_at.isoformat() if batch.finished_at else None,
        "photos_gone_at": batch.photos_gone_at.isoformat() if batch.photos_gone_at else None,
        "items": reverse("batch_items", args=[batch.pk]),
        "results": reverse("batch_results", args=[batch.pk]),
        "page": reverse("batch_page", args=[batch.pk]),
    }


def item_as_json(item: BatchItem, batch: Batch) -> dict[str, Any]:
    row: Row = item.row()
    return {
        "position": row.position + 1,
        "file": row.name,
        "status": row.status,
        "code": row.code or None,
        "detail": row.sentence or None,
        "label": row.label or None,
        "probability": row.probability,
        "sure": row.sure,
        "animated": row.animated,
        "top": [{"label": label, "probability": p} for label, p in top(row, batch.labels, TOP)],
    }
