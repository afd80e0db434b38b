"""Runs in the admin: started from a form, watched while they train, compared when they have."""

from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import Prefetch, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect, JsonResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.safestring import SafeString

from breedsite.waiting import obstacle, waiting
from trainer.admin import network
from trainer.admin.recipe_form import RunForm, filled_in
from trainer.admin.run_figures import best_epoch, everything, last_lines, measured, small_curve, state, write_csv
from trainer.cache import FeatureCache
from trainer.models import Dataset, EpochMetric, TrainingRun
from trainer.models.damage import damage, unreadable
from trainer.presets import CATALOGUE

COMPARED = range(2, 9)  # runs at once
VERBS = ("stop", "resume", "train", "clone", "adjust", "continue")
TRAIN = ("train", "clone", "continue")  # those that start a run with the recipe of another
LIGHT = Prefetch("epochs", EpochMetric.objects.defer("trail"))


@admin.register(TrainingRun)
class TrainingRunAdmin(admin.ModelAdmin):
    """A run is started and watched; what it was started with stays as it is."""

    list_display = ["run", "dataset", "standing", "progress", "best", "curve", "version", "created_at"]
    list_filter = ["status", "kind", "dataset", "preset"]
    list_select_related = ["dataset", "version"]
    search_fields = ["name", "dataset__name"]
    actions = ["compare"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[TrainingRun]:
        """For the list with all that a row shows, so that none asks for itself."""
        rows = super().get_queryset(request)
        if request.resolver_match and request.resolver_match.url_name == "trainer_trainingrun_changelist":
            heavy = rows.defer("live", "use")
            return heavy.prefetch_related(LIGHT).annotate(number_in_queue=TrainingRun.number_in_queue())
        return rows

    @admin.display(ordering="pk")
    def run(self, run: TrainingRun) -> str:
        return str(run)

    @admin.display(ordering="status", description="status")
    def standing(self, run: TrainingRun) -> str:
        broken = damage(run)
        return f"{run.get_status_display()}, damaged: {broken}" if broken else run.get_status_display()

    @admin.display(description="progress", empty_value="")
    def progress(self, run: TrainingRun) -> str:
        if run.status == run.Status.QUEUED:
            return f"number {run.number_in_queue} in the queue"
        if run.kind == run.Kind.RANGE_TEST:
            return f"suggests {run.findings.get('suggestion', 0):g}" if run.suggestion else ""
        return f"{len(run.epochs.all())} of {run.fields.get('epochs', '?')} epochs"

    @admin.display(description="best on validation", empty_value="")
    def best(self, run: TrainingRun) -> str:
        epoch = best_epoch(list(run.epochs.all()))
        if epoch is None or epoch.validation_top1 is None:
            return ""
        return f"{100 * epoch.validation_top1:.1f} % (epoch {epoch.number})"

    @admin.display(description="loss", empty_value="")
    def curve(self, run: TrainingRun) -> SafeString | str:
        losses = [epoch.validation_loss for epoch in run.epochs.all() if epoch.validation_loss is not None]
        if run.kind == run.Kind.RANGE_TEST:
            losses = [loss for _, loss, _ in run.findings.get("points", ()) if loss is not None]
        return small_curve(losses) if len(losses) > 1 else ""

    @admin.action(description="Compare the selected runs")
    def compare(self, request: HttpRequest, runs: QuerySet[TrainingRun]) -> HttpResponse | None:
        runs = runs.filter(kind=TrainingRun.Kind.TRAINING)
        if runs.count() not in COMPARED:
            self.message_user(request, "Select two to eight runs to compare.", messages.WARNING)
            return None
        chosen = ",".join(str(run.pk) for run in runs.order_by("pk"))
        return HttpResponseRedirect(f"{reverse('admin:trainer_trainingrun_compare')}?runs={chosen}")

    # --- what frozen backbones saw ---------------------------------------------------------------------------------
    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        shown = {"features_bytes": features().size(), "features_max_bytes": settings.FEATURE_CACHE_BYTES}
        shown |= {"obstacle": obstacle(TrainingRun) if TrainingRun.objects.queued().exists() else ""}
        return super().changelist_view(request, shown | (extra_context or {}))

    def empty_view(self, request: HttpRequest) -> HttpResponse:
        """POST removes the cached features."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        self.message_user(request, f"{features().empty() / 1e6:,.1f} MB of features removed.", messages.SUCCESS)
        return HttpResponseRedirect(reverse("admin:trainer_trainingrun_changelist"))

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
            page("network/", self.network_view, "network"),
            page("features/empty/", self.empty_view, "empty"),
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
        """GET ?preset= or ?like=<run> fills the form in, POST starts the run."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        like = self.seen(request, request.GET["like"]) if "like" in request.GET else None
        chosen = request.POST.get("preset") or request.GET.get("preset") or (like and like.preset) or default_preset()
        preset = CATALOGUE.get(chosen)
        if preset is None:
            raise Http404
        initial = preset.recipe.as_dict() | {"preset": chosen, "dataset": request.GET.get("dataset")}
        if like is not None:
            initial |= filled_in(like)
        form = RunForm(request.POST or None, initial=initial)
        if request.method == "POST" and form.is_valid():
            run = form.start(request.user)
            self.log_addition(request, run, "Started.")
            return self.back_to(run)
        return self.page(
            request, "add_form.html", "Train", form=form, presets=CATALOGUE, chosen=chosen, preset=preset,
            no_dataset=not Dataset.objects.ready().exists(), failed=like and like.status == like.Status.FAILED,
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
            hindered = verb in TRAIN and unreadable(run)
            why = "has a recipe that cannot be read" if hindered else f"is {run.get_status_display()} already"
            self.message_user(request, f"{run} {why}.", messages.WARNING)
            return self.back_to(run)
        if verb == "adjust":
            return HttpResponseRedirect(f"{reverse('admin:trainer_trainingrun_add')}?like={run.pk}")
        if verb in TRAIN:
            made = {"clone": run.clone, "continue": run.continued, "train": run.suggested}
            new = made[verb](created_by=request.user)
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
        page = "range_test.html" if run.kind == run.Kind.RANGE_TEST else "run.html"
        return self.page(
            request, page, str(run), run=run, epochs=run.epochs.all(), verbs=self.verbs(request, run),
            recipe=[(name, value, name in run.changes) for name, value in run.fields.items()], damage=damage(run),
            measured=measured(run), waiting=waiting(run), log="\n".join(last_lines(run)),
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
        told = state(run, after=int(after))
        return JsonResponse(told | {"verbs": [verb for verb, possible in self.verbs(request, run) if possible]})

    def csv_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        run = self.seen(request, object_id)
        response = HttpResponse(content_type="text/csv; charset=utf-8")
        response["Content-Disposition"] = f'attachment; filename="run-{run.pk}.csv"'
        write_csv(run, response)
        return response

    def json_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        run = self.seen(request, object_id)
        response = JsonResponse(everything(run), json_dumps_params={"indent": 1})
        response["Content-Disposition"] = f'attachment; filename="run-{run.pk}.json"'
        return response

    def network_view(self, request: HttpRequest) -> HttpResponse:
        """GET ?architecture=&dataset=: the layers of a network, for who may start a run."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        if request.method != "GET":
            return HttpResponseNotAllowed(["GET"])
        shown = network.context(request.GET.dict(), settings.WEIGHTS_DIR)
        return self.page(request, "network.html", "Layers of a network", **shown)

    def compare_view(self, request: HttpRequest) -> HttpResponse:
        """GET ?runs=1,2: curves over each other, and the hyperparameters that differ."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        parts = request.GET.get("runs", "").split(",")
        numbers = [part for part in parts if part.isascii() and part.isdigit() and len(part) < 19]  # as a key may have
        trainings = self.get_queryset(request).filter(kind=TrainingRun.Kind.TRAINING).prefetch_related(LIGHT)
        runs = list(trainings.filter(pk__in=numbers[: COMPARED.stop]).order_by("pk"))
        if len(runs) not in COMPARED:
            self.message_user(request, "Select two to eight runs to compare.", messages.WARNING)
            return HttpResponseRedirect(reverse("admin:trainer_trainingrun_changelist"))
        names = dict.fromkeys(name for run in runs for name in run.fields)
        rows = [(name, [run.fields.get(name) for run in runs]) for name in names]
        return self.page(
            request, "compare.html", "Compare runs", runs=[(run, measured(run)) for run in runs],
            bests=[self.best(run) for run in runs],
            rows=[(name, values, len({repr(value) for value in values}) > 1) for name, values in rows],
        )  # fmt: skip


def features() -> FeatureCache:
    return FeatureCache(settings.FEATURES_DIR, max_bytes=settings.FEATURE_CACHE_BYTES)


def default_preset() -> str:
    """The one that is simply the best quick one for photos."""
    return "transfer" if "transfer" in CATALOGUE else next(iter(CATALOGUE))


def possible(run: TrainingRun) -> tuple[str, ...]:
    """The verbs that its state allows."""
    asked = run.stop_requested and run.status != run.Status.PAUSED
    whole = not unreadable(run)
    may = {
        "stop": run.status in run.ACTIVE and not asked,
        "resume": run.may_resume,
        "train": whole and bool(run.suggestion),
        "clone": whole,
        "adjust": True,
        "continue": whole and run.may_continue,
    }
    return tuple(verb for verb in VERBS if may[verb])
