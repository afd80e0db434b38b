"""What a run tells of itself: to its page while it moves, to the list as a small curve, to other programs."""

import csv
from typing import IO, Any

from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from breedsite.waiting import waiting
from classifier.admin import in_words
from classifier.artifact import ArtifactError
from trainer.models import EpochMetric, TrainingRun
from trainer.models.carrying import log_of

FIGURES = (
    *("number", "loss", "accuracy", "validation_loss", "validation_top1", "learning_rate", "skipped_steps"),
    *("seconds", "images_per_second"),
)
LOG_LINES, LOG_BYTES = 20, 16_384
CURVE = (120, 28)  # width and height of the list's curves


def state(run: TrainingRun, *, after: int) -> dict[str, Any]:
    """Where a run stands, with its epochs after that one."""
    best = best_epoch(list(run.epochs.defer("trail")))
    return {
        "status": run.status,
        "status_text": run.get_status_display(),
        "active": run.status in run.ACTIVE,
        "place": run.place,
        "waiting": waiting(run),
        "failure": run.failure,
        "live": run.live if run.status in run.HELD else {},
        "use": run.use,
        "done": run.progress_done,
        "total": run.progress_total,
        "best": best.number if best else None,
        "epochs": [
            {name: getattr(epoch, name) for name in (*FIGURES, "trail")}
            for epoch in run.epochs.filter(number__gt=after)
        ],
        "found": run.findings,
        "log": last_lines(run),
        "version": version_of(run),
    }


def write_csv(run: TrainingRun, file: IO[str] | Any) -> None:
    """A row an epoch, or a step of a range test."""
    rows = csv.writer(file)
    if run.kind == run.Kind.RANGE_TEST:
        rows.writerow(["learning_rate", "loss", "smoothed_loss"])
        rows.writerows(run.findings.get("points", ()))
        return
    rows.writerow(FIGURES)
    rows.writerows([getattr(epoch, name) for name in FIGURES] for epoch in run.epochs.all())


def best_epoch(epochs: list[EpochMetric]) -> EpochMetric | None:
    """The one whose weights are kept: that of the smallest validation loss, the earliest of several."""
    finite = [epoch for epoch in epochs if epoch.validation_loss is not None]
    return min(finite, key=lambda epoch: (epoch.validation_loss, epoch.number), default=None)


def small_curve(values: list[float]) -> SafeString:
    """A line without axes."""
    width, height = CURVE
    low, high = min(values), max(values)
    span = (high - low) or 1.0
    step = (width - 4) / (len(values) - 1)
    places = (
        f"{2 + number * step:.1f},{height - 2 - (value - low) / span * (height - 4):.1f}"
        for number, value in enumerate(values)
    )
    return format_html(
        '<svg class="small-curve" width="{}" height="{}" role="img" aria-label="from {} to {}">'
        '<polyline points="{}"/></svg>',
        width,
        height,
        f"{values[0]:.3f}",
        f"{values[-1]:.3f}",
        " ".join(places),
    )


def measured(run: TrainingRun) -> str:
    """How good its version is on the sealed test photos."""
    try:
        quality = run.version.card.quality if run.version else None
    except ArtifactError:  # its row is damaged
        return ""
    return in_words(quality.top1) if quality else ""


def version_of(run: TrainingRun) -> dict[str, str] | None:
    if run.version is None:
        return None
    page = reverse("admin:classifier_modelversion_change", args=[run.version.pk])
    return {"name": str(run.version), "page": page, "measured": measured(run)}


def last_lines(run: TrainingRun) -> list[str]:
    """The end of its log."""
    try:
        with log_of(run).open("rb") as log:
            log.seek(max(log.seek(0, 2) - LOG_BYTES, 0))
            return log.read().decode(errors="replace").splitlines()[-LOG_LINES:]
    except OSError:  # it has not begun, or somebody took it away
        return []


def everything(run: TrainingRun) -> dict[str, Any]:
    """A run for other programs."""
    return {
        "run": run.pk,
        "name": run.name,
        "kind": run.kind,
        "status": run.status,
        "failure": run.failure,
        "dataset": str(run.dataset),
        "fingerprint": run.fingerprint,
        "preset": run.preset,
        "recipe": run.recipe,
        "parent": run.parent_id,
        "device": run.device,
        "version": str(run.version) if run.version else None,
        "created_at": run.created_at,
        "started_at": run.started_at,
        "finished_at": run.finished_at,
        "epochs": [{name: getattr(epoch, name) for name in (*FIGURES, "trail")} for epoch in run.epochs.all()],
        "found": run.found,
        "use": run.use,
    }
