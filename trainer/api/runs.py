"""Runs for programs: started with a preset and changes, watched epoch by epoch, stopped, resumed, cloned.

What a run is and may do stands in `trainer.models.run`; what may be asked of a new one, in the form of the admin.
"""

from typing import Any

from django.db.models import Q
from django.http import HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import reverse
from rest_framework.request import Request
from rest_framework.response import Response

from breedsite.body import JsonView, checked, wrong
from breedsite.history import ADDITION, CHANGE, note
from breedsite.idempotency import once
from breedsite.paging import Filter, Listing, exactly, number_of, one_of, query
from breedsite.paging import whole as number
from classifier.problems import Refused
from trainer.admin.recipe_form import FIND, RunForm
from trainer.admin.run import default_preset, possible
from trainer.admin.run_figures import write_csv
from trainer.api import run_schema as schema
from trainer.api.run_json import CloneSerializer, NewRunSerializer, row, whole
from trainer.models import Dataset, TrainingRun
from trainer.models.damage import unreadable
from trainer.presets import PRESETS
from trainer.recipe import Recipe, RecipeError


def of_dataset(name: str, text: str) -> Q:
    """NAME or NAME:NUMBER."""
    label, colon, digits = text.partition(":")
    if len(text) > 80 or "\0" in text or (colon and not (digits.isascii() and digits.isdecimal() and len(digits) < 10)):
        raise Refused("malformed_request", f"{name} is NAME, or NAME:NUMBER.")
    return Q(dataset__name=label, **({"dataset__number": int(digits)} if colon else {}))


LISTING = Listing(
    show=row,
    filters={
        "status": one_of("status", TrainingRun.Status.values, "Runs in this state."),
        "kind": one_of("kind", TrainingRun.Kind.values, "Trainings, or range tests."),
        "dataset": Filter(of_dataset, {"type": "string", "maxLength": 80}, "Runs on this one: NAME, or NAME:NUMBER."),
        "name": exactly("name", "Runs whose version has this name.", max_length=64),
        "version": number_of("version", "The run that made the version of this id."),
    },
    orders=("-id", "id", "name", "-name", "created_at", "-created_at"),
)


class RunView(JsonView):
    scopes = {"GET": "read", "POST": "train"}
    permissions = {"GET": "trainer.view_trainingrun", "POST": "trainer.add_trainingrun"}


class Runs(RunView):
    @schema.listed(LISTING)
    def get(self, request: Request) -> Response:
        rows = TrainingRun.objects.select_related("dataset", "version").defer("live", "use", "found")
        return LISTING.answer(request, rows)

    @schema.created
    @once
    def post(self, request: Request) -> Response:
        run = filled_in(checked(NewRunSerializer, request)).start(request.user)
        return started(request, run, "Started.")


def started(request: Request, run: TrainingRun, sentence: str) -> Response:
    note(request, run, ADDITION, sentence)
    return Response(whole(run), status=201, headers={"Location": reverse("run", args=[run.pk])})


def filled_in(asked: dict[str, Any]) -> RunForm:
    """The form of the admin, as a program fills it in: valid. Raises Refused."""
    preset = asked.get("preset") or default_preset()
    try:
        dataset = Dataset.objects.named(asked["dataset"])
        recipe = Recipe.from_dict(PRESETS[preset].as_dict() | asked.get("recipe", {}))
    except Dataset.DoesNotExist as error:
        raise wrong({"dataset": str(error)}) from error
    except RecipeError as error:
        raise wrong({error.field: str(error)}) from error
    form = RunForm(
        recipe.as_dict()
        | {"dataset": dataset.pk, "preset": preset, "name": asked.get("name", ""), "parent": asked.get("continue", "")}
        | ({FIND: "yes"} if asked.get("kind") == TrainingRun.Kind.RANGE_TEST else {})
    )
    if not form.is_valid():
        raise wrong(dict(said(name, str(errors[0])) for name, errors in form.errors.items()))
    return form


def said(name: str, sentence: str) -> tuple[str, str]:
    """A mistake in the form by the name that a program knows."""
    if name == "parent":
        return "continue", "There is no such run, or it has not ended with a version: it cannot be gone on from."
    return ("continue" if name == "__all__" else name), sentence


class OneRun(RunView):
    @schema.read
    def get(self, request: Request, pk: int) -> Response:
        after = number("after", query(request, "after").get("after", "0"))
        return Response(whole(found(pk), after=after))


def found(pk: int) -> TrainingRun:
    return get_object_or_404(TrainingRun.objects.select_related("dataset", "version", "parent"), pk=pk)


class Verb(RunView):
    """Something that is done with a run, where its state allows it."""

    def run(self, pk: int, verb: str) -> TrainingRun:
        run = found(pk)
        if verb not in possible(run):
            why = "has a recipe that cannot be read" if verb == "clone" and unreadable(run) else already(run)
            raise Refused("wrong_state", f"{run} {why}.")
        return run


def already(run: TrainingRun) -> str:
    return f"is {run.get_status_display()} already"


class Stop(Verb):
    @schema.stop
    def post(self, request: Request, pk: int) -> Response:
        run = self.run(pk, "stop")
        if not run.stop():  # it has ended meanwhile
            raise Refused("wrong_state", f"{run} {already(run)}.")
        note(request, run, CHANGE, "Stop.")
        return Response(whole(run))


class Resume(Verb):
    @schema.resume
    def post(self, request: Request, pk: int) -> Response:
        run = self.run(pk, "resume")
        if not run.resume():  # another was quicker
            raise Refused("wrong_state", f"{run} {already(run)}.")
        note(request, run, CHANGE, "Resume.")
        return Response(whole(run))


class Clone(Verb):
    @schema.clone
    @once
    def post(self, request: Request, pk: int) -> Response:
        asked = checked(CloneSerializer, request)
        run = self.run(pk, "clone")
        named = {"name": asked["name"]} if "name" in asked else {}
        try:
            new = run.clone(changes=asked.get("recipe"), created_by=request.user, **named)
        except RecipeError as error:
            raise wrong({error.field: str(error)}) from error
        return started(request, new, f"Started: clone of {run}.")


class Epochs(RunView):
    @schema.epochs
    def get(self, request: Request, pk: int) -> HttpResponse:
        query(request)
        run = found(pk)
        headers = {"Content-Disposition": f'attachment; filename="run-{run.pk}.csv"'}
        response = HttpResponse(content_type="text/csv; charset=utf-8", headers=headers)
        write_csv(run, response)
        return response
