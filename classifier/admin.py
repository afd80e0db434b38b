"""The installed versions, each with its card, and the button that chooses which one answers; and the batches."""

import json
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect, JsonResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html

from breedsite.errors import problem_page
from classifier import evaluation, evidence
from classifier.artifact import ArtifactError
from classifier.models import Batch, ModelVersion
from classifier.quality import Rate, in_words, percent
from classifier.spec import Spec
from classifier.tables import as_csv

ACTIVATE = "classifier.activate_modelversion"
SHOWN_APART = {"data", "intended_use", "not_for", "license", "backbone_has_seen_the_photos"}  # of `origin`


@admin.register(ModelVersion)
class ModelVersionAdmin(admin.ModelAdmin):
    """Versions come in by `importversion` or from training: here they are looked at and activated, nothing else."""

    list_display = ["version", "is_active", "measured", "label_count", "trouble", "created_at", "activated_at"]
    search_fields = ["name", "digest"]
    fields = ["name", "number", "is_active", "created_at", "activated_at", "digest", "folder"]
    change_form_template = "admin/classifier/modelversion/change_form.html"

    @admin.display(ordering="name")
    def version(self, version: ModelVersion) -> str:
        return str(version)

    @admin.display(description="right on its test photos")
    def measured(self, version: ModelVersion) -> str:
        try:
            quality = version.spec["quality"]
            return in_words(Rate(quality["n"], **without_value(quality["top1"]))) if quality else "not measured"
        except (KeyError, TypeError, AttributeError):  # the row is damaged
            return "cannot be read"

    @admin.display(description="labels")
    def label_count(self, version: ModelVersion) -> int | None:
        return len(version.spec["labels"]) if "labels" in version.spec else None

    @admin.display(description="trouble", empty_value="")
    def trouble(self, version: ModelVersion) -> str:
        return version.failure or ("damaged: its folder is missing" if version.is_missing else "")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: ModelVersion | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: ModelVersion | None = None) -> bool:
        return False

    def has_view_permission(self, request: HttpRequest, obj: ModelVersion | None = None) -> bool:
        return super().has_view_permission(request, obj) or request.user.has_perm(ACTIVATE)

    def get_urls(self) -> list[URLPattern]:
        activate = path(
            "<path:object_id>/activate/",
            self.admin_site.admin_view(self.activate_view),
            name="classifier_modelversion_activate",
        )
        figures = path(
            "<path:object_id>/figures/<slug:table>/",
            self.admin_site.admin_view(self.figures_view),
            name="classifier_modelversion_figures",
        )
        return [activate, figures, *super().get_urls()]

    def render_change_form(
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: ModelVersion | None = None,
    ) -> HttpResponse:
        if obj is not None:
            context |= {"version": obj, "may_activate": request.user.has_perm(ACTIVATE)} | card(obj)
        return super().render_change_form(request, context, add, change, form_url, obj)

    def figures_view(self, request: HttpRequest, object_id: str, table: str) -> HttpResponse:
        """What was measured of a version: `labels` and `pairs` as CSV, `all` as JSON."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        if request.method != "GET":
            return HttpResponseNotAllowed(["GET"])
        version = self.get_object(request, unquote(object_id))
        if version is None or table not in ("all", *evaluation.TABLES):
            raise Http404
        try:
            quality = version.card.quality
        except ArtifactError as error:
            return problem_page(request, "not_found", f"{version} cannot be read: {error}.")
        if quality is None:
            raise Http404
        if table == "all":
            document = {"version": str(version), "digest": version.digest, "quality": quality.as_dict()}
            response: HttpResponse = JsonResponse(document, json_dumps_params={"indent": 1, "ensure_ascii": False})
        else:
            header, lines = evaluation.TABLES[table]
            response = HttpResponse(as_csv(header, lines(quality)), content_type="text/csv; charset=utf-8")
        ending = "json" if table == "all" else "csv"
        name = f"{version.name}-{version.number}-{table}.{ending}"
        response["Content-Disposition"] = f'attachment; filename="{name}"'
        return response

    def activate_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """GET asks once, POST does it."""
        if not request.user.has_perm(ACTIVATE):
            raise PermissionDenied
        version = self.get_object(request, unquote(object_id))
        if version is None:
            raise Http404
        if request.method == "POST":
            return self.activate(request, version)
        context = self.admin_site.each_context(request) | {
            "title": f"Activate {version}?",
            "opts": self.opts,
            "version": version,
            "measured": self.measured(version),
            "active": (active := ModelVersion.objects.active()),
            "active_measured": self.measured(active) if active else "",
        }
        return TemplateResponse(request, "admin/classifier/modelversion/activate.html", context)

    def activate(self, request: HttpRequest, version: ModelVersion) -> HttpResponse:
        try:
            version.activate()
        except ArtifactError as error:
            self.message_user(request, f"Version {version} was not activated: {error}.", messages.ERROR)
        else:
            self.log_change(request, version, "Activated.")
            self.message_user(
                request, f"Version {version} is active: every process answers with it within five seconds."
            )
        return HttpResponseRedirect(reverse("admin:classifier_modelversion_change", args=[version.pk]))


@admin.register(Batch)
class BatchAdmin(admin.ModelAdmin):
    """Everybody's batches, to look at; the page of each tells the rest, and there it is stopped or deleted."""

    list_display = ["batch", "created_by", "status", "progress", "counts", "created_at", "page"]
    list_filter = ["status"]
    list_select_related = ["created_by"]
    search_fields = ["name", "source_name", "created_by__username"]
    fields = [
        *("name", "page", "created_by", "status", "failure", "progress", "counts", "answered_by", "combine", "device"),
        *("source_kind", "source_name", "source_path", "created_at", "started_at", "finished_at", "photos_gone_at"),
    ]

    @admin.display(ordering="pk")
    def batch(self, batch: Batch) -> str:
        return str(batch)

    @admin.display(description="page")
    def page(self, batch: Batch) -> str:
        return format_html('<a href="{}">Open batch {}</a>', reverse("batch_page", args=[batch.pk]), batch.pk)

    @admin.display(description="progress")
    def progress(self, batch: Batch) -> str:
        return f"{batch.progress_done:,} of {batch.progress_total:,} photos" if batch.progress_total else ""

    @admin.display(description="photos")
    def counts(self, batch: Batch) -> str:
        return ", ".join(f"{count:,} {status}" for status, count in batch.counts.items() if count)

    @admin.display(description="answered by")
    def answered_by(self, batch: Batch) -> str:
        return ", ".join(map(str, batch.members))

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Batch | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Batch | None = None) -> bool:
        return False


def without_value(rate: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in rate.items() if key != "value"}


def card(version: ModelVersion) -> dict[str, Any]:
    """What the page of a version says, ready to be shown."""
    try:
        spec = version.card
    except ArtifactError as error:
        return {"unreadable": str(error)}
    return {
        "spec": spec,
        "origin": spec.origin,
        "measured": measured(spec),
        "unsure_below": percent(spec.calibration.unsure_below),
        "off_before": percent(spec.calibration.ece_before),
        "off_after": percent(spec.calibration.ece_after),
        "evaluation": evaluation.page(spec, evidence.photos_of(version.digest)) if spec.quality else None,
        "record": [
            (key.replace("_", " "), shown(value))
            for key, value in spec.origin.items()
            if key not in SHOWN_APART and value is not None and not isinstance(value, dict | list)
        ],
        "long_record": [
            (key.replace("_", " "), lines(value))
            for key, value in spec.origin.items()
            if key not in SHOWN_APART and value and isinstance(value, dict | list)
        ],
    }


def lines(value: dict[str, Any] | list[Any]) -> list[tuple[str, str]]:
    """What a table shows of a value with parts: one line a key, or one a number with all that it holds."""
    if isinstance(value, dict):
        return [(str(key).replace("_", " "), shown(part)) for key, part in value.items()]
    return [
        (str(number), ", ".join(f"{key.replace('_', ' ')} {shown(part)}" for key, part in entry.items()))
        if isinstance(entry, dict)
        else (str(number), shown(entry))
        for number, entry in enumerate(value, 1)
    ]


def measured(spec: Spec) -> list[tuple[str, str]]:
    if spec.quality is None:
        return []
    return [
        ("the first answer is right", in_words(spec.quality.top1)),
        ("the right one is among the first five", in_words(spec.quality.top5)),
    ]


def shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
