"""Versions for programs: which there are, how good each is, which one answers, and its files."""

from django.http import StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404
from rest_framework.request import Request
from rest_framework.response import Response

from breedsite.body import JsonView
from breedsite.history import CHANGE, note
from breedsite.paging import Listing, exactly, query, yes_or_no
from classifier.api import version_schema as schema
from classifier.api.version_json import card, row
from classifier.artifact import ArtifactError
from classifier.artifact import digest as digest_of
from classifier.models import ModelVersion
from classifier.packed import packed
from classifier.problems import Refused
from classifier.spec import FILES

LISTING = Listing(
    show=row,
    filters={
        "name": exactly("name", "Versions of this name.", max_length=64),
        "is_active": yes_or_no("is_active", "The one that answers, or the others."),
    },
    orders=("-id", "id", "name", "-name", "created_at", "-created_at"),
)


class VersionView(JsonView):
    scopes = {"GET": "read"}
    permissions = {"GET": "classifier.view_modelversion"}


class Versions(VersionView):
    @schema.listed(LISTING)
    def get(self, request: Request) -> Response:
        return LISTING.answer(request, ModelVersion.objects.all())


class OneVersion(VersionView):
    @schema.read
    def get(self, request: Request, pk: int) -> Response:
        query(request)
        return Response(card(get_object_or_404(ModelVersion, pk=pk)))


class Activate(JsonView):
    """Let it answer; every process does so within five seconds."""

    scopes = {"POST": "admin"}
    permissions = {"POST": "classifier.activate_modelversion"}

    @schema.activate
    def post(self, request: Request, pk: int) -> Response:
        version = get_object_or_404(ModelVersion, pk=pk)
        try:
            version.activate()
        except ArtifactError as error:
            raise Refused("wrong_state", f"Version {version} was not activated: {error}.") from error
        note(request, version, CHANGE, "Activated.")
        return Response(card(version))


class Export(VersionView):
    """The files as they were installed, which `importversion` takes once they are unpacked."""

    @schema.export
    def get(self, request: Request, pk: int) -> HttpResponseBase:
        query(request)
        version = get_object_or_404(ModelVersion, pk=pk)
        files = [version.path / name for name in ("spec.json", *FILES)]
        try:
            version.bring()
            whole = digest_of(version.path) == version.digest and all(file.is_file() for file in files)
        except ArtifactError as error:
            raise Refused("wrong_state", f"Version {version} cannot be exported: {error}.") from error
        if not whole:
            raise Refused("wrong_state", f"Version {version} cannot be exported: its folder is damaged.")
        headers = {"Content-Disposition": f'attachment; filename="{version.name}-{version.number}.zip"'}
        return StreamingHttpResponse(packed(files), content_type="application/zip", headers=headers)
