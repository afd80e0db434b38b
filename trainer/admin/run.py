"""Runs in the admin: started from a form, watched while they train, compared when they have."""

import csv
from collections.abc import Callable
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect, JsonResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from breedsite.models import Worker
from classifier.admin import in_words
from trainer.admin.recipe_form import RunForm
from trainer.models import Dataset, EpochMetric, TrainingRun
from trainer.presets import CATALOGUE

FIGURES = (
    *("number", "loss", "accuracy", "validation_loss", "validation_top1", "learning_rate", "skipped_steps"),
    *("seconds", "images_per_second"),
)
COMPARED = range(2, 9)  # runs at once
LOG_LINES, LOG_BYTES = 20, 16_384
VERBS = ("stop", "resume", "clone", "continue")
CURVE = (120, 28)  # width and height of the list's curves


@admin.register(TrainingRun)
class TrainingRunAdmin(admin.ModelAdmin):
    """A run is started and watched; what it was started with stays as it is."""

    list_display = ["run", "dataset", "status", "progress", "best", "curve", "version", "created_at"]
    list_filter = ["status", "dataset", "preset"]
    list_select_related = ["dataset", "version"]
    search_fields = ["name", "dataset__name"]
    actions = ["compare"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[TrainingRun]:
        return super().get_queryset(request).prefetch_related("epochs")

    @admin.display(ordering="pk")
    def run(self, run: TrainingRun) -> str:
        return str(run)

    @admin.display(description="progress", empty_value="")
    def progress(self, run: TrainingRun) -> str:
        if run.status == run.Status.QUEUED:
            return f"number {run.place} in the queue"
        return f"{run.epochs.count()} of {run.recipe['epochs']} epochs"

    @admin.display(description="best on validation", empty_value="")
    def best(self, run: TrainingRun) -> str:
        epoch = best_epoch(list(run.epochs.all()))
        if epoch is None or epoch.validation_top1 is None:
            return ""
        return f"{100 * epoch.validation_top1:.1f} % (epoch {epoch.number})"

    @admin.display(description="validation loss", empty_value="")
    def curve(self, run: TrainingRun) -> SafeString | str:
        losses = [epoch.validation_loss for epoch in run.epochs.all() if epoch.validation_loss is not None]
        return small_curve(losses) if len(losses) > 1 else ""

    @admin.action(description="Compare the selected runs")
    def compare(self, request: HttpRequest, runs: QuerySet[TrainingRun]) -> HttpResponse | None:
        if runs.count() not in COMPARED:
            self.message_user(request, "Select two to eight runs to compare.", messages.WARNING)
            return None
        chosen = ",".join(str(run.pk) for run in runs.order_by("pk"))
        return HttpResponseRedirect(f"{reverse('admin:trainer_trainingrun_compare')}?runs={chosen}")

    # --- who may --------------------------------------------------------------------------------------------------
    def has_change_permission(self, request: HttpRequest, obj: TrainingRun | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: TrainingRun | None = None) -> bool:
        return False

    def has_view_permission(self, request: HttpRequest, obj: TrainingRun | None = None) -> bool:
        return super().has_view_permission(request, obj) or self.has_add_permission(request)

    def get_urls(self) -> list[URLPattern]:
        def page(route: str, view: Callable[..., HttpResponse], name: str) -> URLPattern:
            return path(route, self.admin_site.admin_view(view), name=f"trainer_trainingrun_{name}")

        return [
            page("compare/", self.compare_view, "compare"),
            page("<path:object_id>/state/", self.state_view, "state"),
            page("<path:object_id>/epochs.csv", self.csv_view, "csv"),
            page("<path:object_id>/run.json", self.json_view, "json"),
            page("<path:object_id>/do/<slug:verb>/", self.verb_view, "do"),
            *super().get_urls(),
        ]

    def seen(self, request: HttpRequest, object_id: str) -> TrainingRun:
        """The run that a view is about; 403 or 404."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        run = self.get_object(request, unquote(object_id))
        if run is None:
            raise Http404
        return run

    def page(self, request: HttpRequest, template: str, title: str, **context: Any) -> TemplateResponse:
        context |= self.admin_site.each_context(request) | {"title": title, "opts": self.opts}
        return TemplateResponse(request, f"admin/trainer/trainingrun/{template}", context)

    # --- starting -------------------------------------------------------------------------------------------------
    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        """GET ?preset= fills the form in, POST starts the run."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        chosen = request.POST.get("preset") or request.GET.get("preset") or default_preset()
        preset = CATALOGUE.get(chosen)
        if preset is None:
            raise Http404
        initial = preset.recipe.as_dict() | {"preset": chosen, "dataset": request.GET.get("dataset")}
        form = RunForm(request.POST or None, initial=initial)
        if request.method == "POST" and form.is_valid():
            dataset: Dataset = form.cleaned_data["dataset"]
            run = TrainingRun.objects.start(
                dataset,
                form.recipe,
                name=form.cleaned_data["name"] or dataset.name,
                preset=chosen,
                key=form.cleaned_data["key"],
                created_by=request.user,
            )
            self.log_addition(request, run, "Started.")
            return self.back_to(run)
        return self.page(
            request, "add_form.html", "Train", form=form, presets=CATALOGUE, chosen=chosen, preset=preset,
            no_dataset=not Dataset.objects.ready().exists(),
        )  # fmt: skip

    def verb_view(self, request: HttpRequest, object_id: str, verb: str) -> HttpResponse:
        """POST does one of the verbs; a run that is not in the state for it is left as it is."""
        run = self.seen(request, object_id)
        if not self.has_add_permission(request):
            raise PermissionDenied
        if verb not in VERBS:
            raise Http404
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if verb not in possible(run):
            self.message_user(request, f"{run} is {run.get_status_display()} already.", messages.WARNING)
            return self.back_to(run)
        if verb in ("clone", "continue"):
            made = run.clone if verb == "clone" else run.continued
            new = made(created_by=request.user)
            self.log_addition(request, new, f"Started: {verb} of {run}.")
            return self.back_to(new)
        (run.stop if verb == "stop" else run.resume)()
        self.log_change(request, run, f"{verb.capitalize()}.")
        return self.back_to(run)

    def back_to(self, run: TrainingRun) -> HttpResponseRedirect:
        return HttpResponseRedirect(reverse("admin:trainer_trainingrun_change", args=[run.pk]))

    # --- watching -------------------------------------------------------------------------------------------------
    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """The page of a run: complete without JavaScript, moving with it."""
        run = self.seen(request, object_id)
        return self.page(
            request, "run.html", str(run), run=run, epochs=run.epochs.all(), verbs=self.verbs(request, run),
            recipe=[(name, value, name in run.changes) for name, value in run.recipe.items()],
            measured=measured(run), log="\n".join(last_lines(run)),
        )  # fmt: skip

    def verbs(self, request: HttpRequest, run: TrainingRun) -> list[tuple[str, bool]]:
        """Each verb, and whether it can be done now by who asks."""
        may = possible(run) if self.has_add_permission(request) else ()
        return [(verb, verb in may) for verb in VERBS]

    def state_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """GET ?after=<epoch>: the state of a run and its epochs after that one."""
        run = self.seen(request, object_id)
        after = request.GET.get("after", "0")
        if not (after.isascii() and after.isdigit() and len(after) < 9):
            after = "0"
        every = run.epochs.all()
        best = best_epoch(list(every))
        return JsonResponse(
            {
                "status": run.status,
                "status_text": run.get_status_display(),
                "active": run.status in run.ACTIVE,
                "place": run.place,
                "worker": Worker.objects.alive().exists(),
                "failure": run.failure,
                "live": run.live if run.status in run.HELD else {},
                "done": run.progress_done,
                "total": run.progress_total,
                "best": best.number if best else None,
                "epochs": [
                    {name: getattr(epoch, name) for name in (*FIGURES, "trail")}
                    for epoch in every
                    if epoch.number > int(after)
                ],
                "log": last_lines(run),
                "verbs": [verb for verb, possible in self.verbs(request, run) if possible],
                "version": version_of(run),
            }
        )

    def csv_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        run = self.seen(request, object_id)
        response = HttpResponse(content_type="text/csv; charset=utf-8")
        response["Content-Disposition"] = f'attachment; filename="run-{run.pk}.csv"'
        rows = csv.writer(response)
        rows.writerow(FIGURES)
        rows.writerows([getattr(epoch, name) for name in FIGURES] for epoch in run.epochs.all())
        return response

    def json_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        run = self.seen(request, object_id)
        response = JsonResponse(everything(run), json_dumps_params={"indent": 1})
        response["Content-Disposition"] = f'attachment; filename="run-{run.pk}.json"'
        return response

    def compare_view(self, request: HttpRequest) -> HttpResponse:
        """GET ?runs=1,2: curves over each other, and the hyperparameters that differ."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        numbers = [part for part in request.GET.get("runs", "").split(",") if part.isascii() and part.isdigit()]
        runs = list(self.get_queryset(request).filter(pk__in=numbers[: COMPARED.stop]).order_by("pk"))
        if len(runs) not in COMPARED:
            self.message_user(request, "Select two to eight runs to compare.", messages.WARNING)
            return HttpResponseRedirect(reverse("admin:trainer_trainingrun_changelist"))
        names = dict.fromkeys(name for run in runs for name in run.recipe)
        rows = [(name, [run.recipe.get(name) for run in runs]) for name in names]
        return self.page(
            request, "compare.html", "Compare runs", runs=[(run, measured(run)) for run in runs],
            bests=[self.best(run) for run in runs],
            rows=[(name, values, len({repr(value) for value in values}) > 1) for name, values in rows],
        )  # fmt: skip


def default_preset() -> str:
    """The one that is simply the best quick one for photos."""
    return "transfer" if "transfer" in CATALOGUE else next(iter(CATALOGUE))


def possible(run: TrainingRun) -> tuple[str, ...]:
    """The verbs that its state allows."""
    may = {
        "stop": run.status in run.ACTIVE and run.status != run.Status.STOPPING,
        "resume": run.may_resume,
        "clone": True,
        "continue": run.may_continue,
    }
    return tuple(verb for verb in VERBS if may[verb])


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
    quality = run.version.card.quality if run.version else None
    return in_words(quality.top1) if quality else ""


def version_of(run: TrainingRun) -> dict[str, str] | None:
    if run.version is None:
        return None
    page = reverse("admin:classifier_modelversion_change", args=[run.version.pk])
    return {"name": str(run.version), "page": page, "measured": measured(run)}


def last_lines(run: TrainingRun) -> list[str]:
    """The end of its log."""
    try:
        with (run.folder / "log.txt").open("rb") as log:
            log.seek(max(log.seek(0, 2) - LOG_BYTES, 0))
            return log.read().decode(errors="replace").splitlines()[-LOG_LINES:]
    except FileNotFoundError:  # it has not begun
        return []


def everything(run: TrainingRun) -> dict[str, Any]:
    """A run for other programs."""
    return {
        "run": run.pk,
        "name": run.name,
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
    }
