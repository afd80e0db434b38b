"""Datasets in the admin: photos come in, the import is watched, the report is read."""

from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect, JsonResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.decorators import method_decorator
from django.views.decorators.http import require_GET, require_POST

from breedsite.errors import problem_page
from breedsite.waiting import waiting
from classifier.sources.listing import SourceError
from classifier.uploads import MAX_BYTES, PIECE_BYTES, UploadError, WrongPlace
from trainer.admin import photos, suspects
from trainer.admin.report import LISTS, csv_of, json_of, problems
from trainer.admin.sent import number, sent
from trainer.forms import ImportForm, upload_of
from trainer.models import Dataset, Photo, sharing
from trainer.models.importing import cancel


@admin.register(Dataset)
class DatasetAdmin(admin.ModelAdmin):
    """A dataset is imported, never changed: an edit makes its next version."""

    list_display = ["dataset", "status", "progress", "label_count", "photo_count", "source_name", "created_at"]
    list_filter = ["status"]
    search_fields = ["name", "source_name"]
    fields = ["name", "number", "status", "source_kind", "source_name", "created_by", "created_at", "finished_at"]
    add_form_template = "admin/trainer/dataset/add_form.html"
    change_form_template = "admin/trainer/dataset/change_form.html"

    @admin.display(ordering="name")
    def dataset(self, dataset: Dataset) -> str:
        return str(dataset)

    @admin.display(description="progress", empty_value="")
    def progress(self, dataset: Dataset) -> str:
        if dataset.status == Dataset.Status.QUEUED:
            return f"number {dataset.place} in the queue"
        if dataset.status == Dataset.Status.IMPORTING and dataset.progress_total:
            return f"{dataset.progress_done} of {dataset.progress_total} photos"
        return "damaged: its photos are missing" if dataset.is_missing else ""

    @admin.display(description="labels")
    def label_count(self, dataset: Dataset) -> str:
        return str(len(dataset.known_labels) or "")

    @admin.display(description="train + validation + test")
    def photo_count(self, dataset: Dataset) -> str:
        return " + ".join(str(count) for count in dict(dataset.counts).values())

    def has_change_permission(self, request: HttpRequest, obj: Dataset | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Dataset | None = None) -> bool:
        """One at a time, and only what nothing was made of."""
        return obj is not None and obj.may_go and super().has_delete_permission(request, obj)

    def get_deleted_objects(
        self, objs: Any, request: HttpRequest
    ) -> tuple[list[str], dict[str, int], set[str], list[str]]:
        """What the question names: the dataset and how many photos, not each of 100,000."""
        photos = Photo.objects.filter(dataset__in=objs).count()
        return [str(dataset) for dataset in objs], {"datasets": len(objs), "photos": photos}, set(), []

    def has_view_permission(self, request: HttpRequest, obj: Dataset | None = None) -> bool:
        return super().has_view_permission(request, obj) or self.has_add_permission(request)

    def get_urls(self) -> list[URLPattern]:
        def page(route: str, view: Any, name: str) -> URLPattern:
            return path(route, self.admin_site.admin_view(view), name=f"trainer_dataset_{name}")

        return [
            page("upload/<uuid:key>/", self.upload_view, "upload"),
            page("<path:object_id>/progress/", self.progress_view, "progress"),
            page("<path:object_id>/cancel/", self.cancel_view, "cancel"),
            page("<path:object_id>/report.json", self.json_view, "json"),
            page("<path:object_id>/photos.csv", self.csv_view, "csv"),
            page("<path:object_id>/photos/", self.photos_view, "photos"),
            page("<path:object_id>/edit/", self.edit_view, "edit"),
            page("<path:object_id>/examples/", self.examples_view, "examples"),
            page("<int:object_id>/photos/<int:photo>/", self.thumbnail_view, "thumbnail"),
            *super().get_urls(),
        ]

    # --- coming in ------------------------------------------------------------------------------------------------
    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        """The form; a POST makes the row that a worker imports."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = ImportForm(request.POST or None, request.FILES or None, initial={"upload": uuid4()})
        if request.method == "POST" and form.is_valid():
            try:
                dataset = form.enqueue(request.user)
            except UploadError as error:
                form.add_error(None, str(error))
            else:
                self.log_addition(request, dataset, "Import started.")
                return HttpResponseRedirect(reverse("admin:trainer_dataset_change", args=[dataset.pk]))
        context = self.admin_site.each_context(request) | {
            "title": "Import photos",
            "opts": self.opts,
            "form": form,
            # The same after a mistake in the form: what was sent before it need not be sent again.
            "key": (form.cleaned_data.get("upload") if form.is_bound else form["upload"].value()) or uuid4(),
            "piece_bytes": PIECE_BYTES,
            "max_bytes": MAX_BYTES,
        }
        return TemplateResponse(request, self.add_form_template, context)

    def upload_view(self, request: HttpRequest, key: UUID) -> HttpResponse:
        """GET says how much has arrived, POST ?offset=&total= brings the next piece."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        upload = upload_of(request.user, key)
        if request.method == "GET":
            return JsonResponse({"received": sharing.received(upload)})
        if request.method != "POST":
            return HttpResponseNotAllowed(["GET", "POST"])
        numbers = [request.GET.get(name, "") for name in ("offset", "total")]
        if not all(number.isascii() and number.isdigit() and len(number) < 12 for number in numbers):
            return problem_page(request, "malformed_request")
        try:
            received = sharing.append(upload, request.body, offset=int(numbers[0]), total=int(numbers[1]))
        except WrongPlace as other:
            return JsonResponse({"received": other.received}, status=409)
        except UploadError as error:
            return problem_page(request, error.code, str(error), about_the_picture=False)
        return JsonResponse({"received": received})

    # --- under way ------------------------------------------------------------------------------------------------
    def seen(self, request: HttpRequest, object_id: str) -> Dataset:
        """The dataset that a view is about; 403 or 404."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        dataset = self.get_object(request, unquote(object_id))
        if dataset is None:
            raise Http404
        return dataset

    def changeable(self, request: HttpRequest, object_id: str) -> Dataset:
        """The dataset that a view does something with; 403 or 404."""
        dataset = self.seen(request, object_id)
        if not self.has_add_permission(request):
            raise PermissionDenied
        return dataset

    @method_decorator(require_GET)
    def progress_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        dataset = self.seen(request, object_id)
        return JsonResponse(
            {
                "status": dataset.status,
                "active": dataset.status in Dataset.ACTIVE,
                "place": dataset.place,
                "waiting": waiting(dataset),
                "done": dataset.progress_done,
                "total": dataset.progress_total,
                "downloaded": downloaded(dataset),
            }
        )

    @method_decorator(require_POST)
    def cancel_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        dataset = self.changeable(request, object_id)
        if cancel(dataset):
            self.log_change(request, dataset, "Cancelled.")
            self.message_user(request, f"The import of {dataset} is being cancelled.")
        else:
            sentence = f"The import of {dataset} has ended already: it is {dataset.status}."
            self.message_user(request, sentence, messages.WARNING)
        return HttpResponseRedirect(reverse("admin:trainer_dataset_change", args=[dataset.pk]))

    # --- its photos -----------------------------------------------------------------------------------------------
    @method_decorator(require_GET)
    def photos_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        dataset = self.seen(request, object_id)
        context = self.admin_site.each_context(request) | photos.page(dataset, request)
        context |= {"title": f"Photos of {dataset}", "opts": self.opts, "dataset": dataset}
        sealed = context["run"] is not None and context["filters"].part == Photo.Part.TEST
        context["sealed"] = sealed
        context["may_edit"] = self.has_add_permission(request) and dataset.status == Dataset.Status.READY and not sealed
        return TemplateResponse(request, "admin/trainer/dataset/photos.html", context)

    @method_decorator(require_POST)
    def edit_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """POST {"changes": {photo: {"label": ..., "excluded": ...}}} -> the next version, on its way."""
        dataset = self.changeable(request, object_id)
        changes = sent(request, lambda body: {number(pk): dict(change) for pk, change in body["changes"].items()})
        try:
            if dataset.status != Dataset.Status.READY:
                raise SourceError(f"{dataset} is {dataset.status}: there is nothing to change.")
            new = dataset.edit(changes, by=request.user)
        except SourceError as error:
            return problem_page(request, "malformed_request", str(error))
        self.log_addition(request, new, f"Made of {dataset} with {len(changes)} changes.")
        return JsonResponse({"address": reverse("admin:trainer_dataset_change", args=[new.pk])})

    @method_decorator(require_POST)
    def examples_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """POST {"photo": ..., "shown": true or false} -> how many examples the dataset has now."""
        dataset = self.changeable(request, object_id)
        photo, shown = sent(request, lambda body: (int(body["photo"]), bool(body["shown"])))
        try:
            dataset.show(photo, shown)
        except SourceError as error:
            return problem_page(request, "malformed_request", str(error))
        except Photo.DoesNotExist:
            return problem_page(request, "not_found")
        verb = "became" if shown else "is no longer"
        self.log_change(request, dataset, f"Photo {photo} {verb} an example.")
        return JsonResponse({"examples": dataset.photos.examples().count()})

    @method_decorator(require_GET)
    def thumbnail_view(self, request: HttpRequest, object_id: int, photo: int) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        shown = get_object_or_404(Photo.objects.select_related("dataset"), pk=photo, dataset=object_id)
        return photos.picture(request, shown.dataset, shown)

    @method_decorator(require_GET)
    def json_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return json_of(self.seen(request, object_id))

    @method_decorator(require_GET)
    def csv_view(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        return csv_of(self.seen(request, object_id))

    # --- looked at ------------------------------------------------------------------------------------------------
    def render_change_form(
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: Dataset | None = None,
    ) -> HttpResponse:
        if obj is not None:
            report = obj.report if isinstance(obj.report, dict) and obj.report.keys() >= LISTS else {}
            context |= {
                "dataset": obj,
                "damaged": bool(obj.report and not report) or obj.is_missing,
                "report": report,
                "active": obj.status in Dataset.ACTIVE,
                "may_cancel": self.has_add_permission(request),
                "largest": max((row["photos"] for row in report.get("labels", ())), default=0),
                "problems": problems(report),
                "suspects": next(iter(suspects.runs(obj)), None),
            }
        return super().render_change_form(request, context, add, change, form_url, obj)


def downloaded(dataset: Dataset) -> int:
    """Bytes of the file that its import fetches just now, 0 where it fetches none."""
    place = Path(dataset.source_path)
    if dataset.status != Dataset.Status.IMPORTING or place.parent != Path(settings.SETS_DIR):
        return 0
    with suppress(FileNotFoundError):  # it has just come to its end
        return sum(file.stat().st_size for file in place.glob("*.part"))
    return 0
