"""Datasets for programs: a zip sent in pieces or a folder of the server becomes one, its report and photos are read.

What a dataset is stands in `trainer.models.dataset`; what may be asked of an import, in the form of the admin.
"""

import csv
import io
from typing import Any
from uuid import UUID, uuid4

from django.conf import settings
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import transaction
from django.db.models import ProtectedError, Q
from django.forms import ChoiceField
from django.http import HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils.datastructures import MultiValueDict
from rest_framework.request import Request
from rest_framework.response import Response

from breedsite.body import JsonView, checked, wrong
from breedsite.history import ADDITION, CHANGE, DELETION, note
from breedsite.idempotency import once
from breedsite.paging import Filter, Listing, exactly, one_of, query, yes_or_no
from breedsite.paging import whole as number
from classifier.parsers import PieceParser
from classifier.problems import Refused
from classifier.sources.offered import within
from classifier.uploads import UploadError, WrongPlace
from trainer.admin.photos import FLAGS
from trainer.admin.report import json_of
from trainer.api import dataset_schema as schema
from trainer.api.dataset_json import NewDatasetSerializer, photo_row, received, row, whole
from trainer.forms import ImportForm, upload_of
from trainer.models import Dataset, Photo, sharing
from trainer.models.importing import FRACTIONS, SEED, cancel
from trainer.presets import CATALOGUE

LISTING = Listing(
    show=row,
    filters={
        "name": exactly("name", "Versions of this name.", max_length=64),
        "status": one_of("status", Dataset.Status.values, "Datasets in this state."),
    },
    orders=("-id", "id", "name", "-name", "created_at", "-created_at"),
)


def of_flag(name: str, text: str) -> Q:
    """A photo that is an example may have a flag too."""
    if text not in FLAGS:
        raise Refused("malformed_request", f"{name} is one of {', '.join(FLAGS)}.")
    return Q(example=True) if text == "example" else Q(flag=text)


PHOTOS = Listing(
    show=photo_row,
    filters={
        "label": exactly("label", "Photos of this label."),
        "part": one_of("part", Photo.Part.values, "Photos of this part."),
        "flag": Filter(of_flag, {"type": "string", "enum": list(FLAGS)}, "Photos at which a person should look."),
        "excluded": yes_or_no("excluded", "Those that are left out, or the others."),
    },
    orders=("id", "-id"),
)


class DatasetView(JsonView):
    scopes = {"GET": "read", "POST": "train", "DELETE": "train"}
    permissions = {
        "GET": "trainer.view_dataset",
        "POST": "trainer.add_dataset",
        "DELETE": "trainer.delete_dataset",
    }


class Datasets(DatasetView):
    @schema.listed(LISTING)
    def get(self, request: Request) -> Response:
        return LISTING.answer(request, Dataset.objects.defer("report", "options"))

    @schema.created
    @once
    def post(self, request: Request) -> Response:
        form = filled_in(checked(NewDatasetSerializer, request))
        try:
            dataset = form.enqueue(request.user)
        except UploadError as error:
            taken = "Nothing of this upload is here, or it became a dataset already: send its pieces first."
            raise wrong({"upload": taken}) from error
        note(request, dataset, ADDITION, "Import started.")
        return Response(whole(dataset), status=201, headers={"Location": reverse("dataset", args=[dataset.pk])})


def filled_in(asked: dict[str, Any]) -> ImportForm:
    """The form of the admin, as a program fills it in: valid. Raises Refused."""
    if "fractions" in asked and "preset" in asked:
        raise wrong({"fractions": "fractions and preset both say how the photos are divided: give one of them."})
    sources = [name for name in ("upload", "server", "builtin") if name in asked]
    if len(sources) != 1:
        raise wrong({(sources or ["upload"])[-1]: "Name one place where the photos are: upload, server or builtin."})
    shares = asked.get("fractions") or (CATALOGUE[asked["preset"]].fractions if "preset" in asked else FRACTIONS)
    path = server_path(asked["server"]) if "server" in asked else ""
    form = ImportForm(
        {
            "name": asked["name"],
            "upload": asked.get("upload", uuid4()),
            "upload_name": asked.get("upload_name", "upload.zip") if "upload" in asked else "",
            "builtin": asked.get("builtin", ""),
            "server": path,
            "seed": asked.get("seed", SEED),
        }
        | dict(zip(("train", "validation", "test"), shares, strict=True)),
        MultiValueDict({"rename": [as_table(asked["rename"])]} if asked.get("rename") else {}),
    )
    server = form.fields["server"]
    assert isinstance(server, ChoiceField)
    server.choices = [*server.choices, (path, path)]  # type: ignore[misc]
    if not form.is_valid():
        raise wrong(dict(said(name, str(errors[0])) for name, errors in form.errors.items()))
    return form


def server_path(path: str) -> str:
    """A folder or zip on the server by its path, links followed. Raises Refused."""
    found = within(path, settings.DATASETS_SOURCE_DIRS)
    if found is None:
        raise wrong({"server": "There is no such folder or zip in the folders that DATASETS_SOURCE_DIRS names."})
    return str(found)


def as_table(names: dict[str, str]) -> SimpleUploadedFile:
    """Other names for labels, as the file that people send."""
    out = io.StringIO()
    csv.writer(out).writerows([("folder", "label"), *names.items()])
    return SimpleUploadedFile("rename.csv", out.getvalue().encode())


def said(name: str, sentence: str) -> tuple[str, str]:
    """A mistake in the form by the name that a program knows."""
    known = {"train": "fractions", "validation": "fractions", "test": "fractions", "upload_name": "upload"}
    return known.get(name, "upload" if name == "__all__" else name), sentence


class OneDataset(DatasetView):
    @schema.read
    def get(self, request: Request, pk: int) -> Response:
        query(request)
        return Response(whole(get_object_or_404(Dataset, pk=pk)))

    @schema.deleted
    def delete(self, request: Request, pk: int) -> Response:
        dataset = get_object_or_404(Dataset, pk=pk)
        if not dataset.may_go:
            raise Refused("wrong_state", f"{dataset} stays: {why_it_stays(dataset)}.")
        try:
            with transaction.atomic():
                note(request, dataset, DELETION, "Deleted.")
                dataset.delete()
        except ProtectedError as error:  # a run was started meanwhile
            raise Refused("wrong_state", f"{dataset} stays: something was made of it.") from error
        return Response(status=204)


def why_it_stays(dataset: Dataset) -> str:
    if dataset.status in Dataset.ACTIVE:
        return f"it is {dataset.get_status_display()}, stop it first"
    return "a run was started on it" if dataset.used else "a later version was made of it"


class Report(DatasetView):
    @schema.report
    def get(self, request: Request, pk: int) -> HttpResponse:
        query(request)
        return json_of(get_object_or_404(Dataset, pk=pk))


class Photos(DatasetView):
    @schema.photos(PHOTOS)
    def get(self, request: Request, pk: int) -> Response:
        return PHOTOS.answer(request, get_object_or_404(Dataset, pk=pk).photos.all())


class Stop(DatasetView):
    @schema.stop
    def post(self, request: Request, pk: int) -> Response:
        dataset = get_object_or_404(Dataset, pk=pk)
        if not cancel(dataset):
            raise Refused("wrong_state", f"The import of {dataset} has ended already: it is {dataset.status}.")
        note(request, dataset, CHANGE, "Cancelled.")
        return Response(whole(dataset))


class Pieces(JsonView):
    """A zip on its way, of one person: nobody else's pieces reach it."""

    scopes = {"GET": "train", "PUT": "train"}
    permissions = {"GET": "trainer.add_dataset", "PUT": "trainer.add_dataset"}
    parser_classes = [PieceParser]

    @schema.arrived
    def get(self, request: Request, key: UUID) -> Response:
        query(request)
        return Response(received(sharing.received(upload_of(request.user, key))))

    @schema.piece
    def put(self, request: Request, key: UUID) -> Response:
        asked = query(request, "offset", "total")
        if missing := {"offset", "total"} - asked.keys():
            raise Refused("malformed_request", f"Say where the piece belongs: {min(missing)} is missing, in bytes.")
        offset, total = (number(name, asked[name]) for name in ("offset", "total"))
        data = request.data if isinstance(request.data, bytes) else b""
        try:
            count = sharing.append(upload_of(request.user, key), data, offset=offset, total=total)
        except WrongPlace as other:
            sentence = f"{other.received} bytes are here: go on from there."
            raise Refused("wrong_offset", sentence, received=other.received) from other
        except UploadError as error:
            raise Refused(error.code, str(error), about_the_picture=False) from error
        return Response(received(count))
