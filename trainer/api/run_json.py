"""The JSON of runs: what a program says to start one, and what it hears of it."""

from typing import Any

from django.urls import reverse
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from breedsite.body import Number, Text
from trainer.admin.run import possible
from trainer.admin.run_figures import measured, state
from trainer.models import TrainingRun
from trainer.models.damage import damage
from trainer.models.run import NAME
from trainer.presets import PRESETS
from trainer.recipe import Field, fields

MOST = 2**63 - 1
VERBS = ("stop", "resume", "clone")


def documented(field: Field) -> serializers.Field:
    """What a program may say of one field of a recipe."""
    if field.choices:
        return serializers.ChoiceField(choices=field.choices, required=False, help_text=field.help)
    if field.kind is str:
        return serializers.CharField(required=False, help_text=field.help)
    said = f"{field.help} In {field.unit}." if field.unit else field.help
    if field.kind is int:
        return serializers.IntegerField(
            min_value=int(field.low), max_value=int(field.high), required=False, help_text=said
        )
    return serializers.FloatField(min_value=field.low, max_value=field.high, required=False, help_text=said)


class RecipeSerializer(serializers.Serializer[Any]):
    """Hyperparameters; those that are not named are as the preset has them."""

    def get_fields(self) -> dict[str, serializers.Field]:
        return {field.name: documented(field) for field in fields()}


@extend_schema_field(RecipeSerializer)
class Changes(serializers.DictField):
    """Fields of a recipe that are to be different."""


class NewRunSerializer(serializers.Serializer[Any]):
    """A run to be started."""

    dataset = Text(max_length=80, help_text="NAME for its newest version, or NAME:NUMBER.")
    preset = serializers.ChoiceField(
        choices=sorted(PRESETS), required=False, help_text="Where the recipe begins; `transfer` where none is named."
    )
    recipe = Changes(required=False, help_text="Fields of the recipe that differ from the preset.")
    name = Text(
        max_length=64,
        validators=[NAME],
        required=False,
        help_text="Of the version that comes of it; by itself the dataset's.",
    )
    kind = serializers.ChoiceField(
        choices=TrainingRun.Kind.values,
        required=False,
        help_text="A range test looks for a learning rate instead of training.",
    )

    def get_fields(self) -> dict[str, serializers.Field]:
        run = Number(min_value=1, max_value=MOST, required=False, help_text="A run from whose version this one starts.")
        return super().get_fields() | {"continue": run}  # which is no name in Python


class CloneSerializer(serializers.Serializer[Any]):
    """What is to be different in the same run once more."""

    recipe = Changes(required=False, help_text="Fields of the recipe.")
    name = Text(max_length=64, validators=[NAME], required=False, help_text="Of the version that comes of it.")


class StepsSerializer(serializers.Serializer[Any]):
    done = serializers.IntegerField(min_value=0)
    total = serializers.IntegerField(min_value=0, help_text="0 while that is not known yet.")


class RunRowSerializer(serializers.Serializer[Any]):
    """A training, or a range test."""

    id = serializers.IntegerField()
    name = serializers.CharField(help_text="Of the version that comes of it.")
    kind = serializers.ChoiceField(choices=TrainingRun.Kind.values)
    status = serializers.ChoiceField(choices=TrainingRun.Status.values)
    active = serializers.BooleanField(help_text="Whether it may still change by itself.")
    dataset = serializers.CharField(help_text="NAME:NUMBER.")
    preset = serializers.CharField(help_text="Empty where it began with none.")
    changes = serializers.DictField(help_text="Fields of its recipe that differ from the preset.")
    progress = StepsSerializer(help_text="Steps, of all epochs.")
    version = serializers.CharField(allow_null=True, help_text="What came of it, NAME:NUMBER.")
    version_id = serializers.IntegerField(allow_null=True, help_text="The same as /api/versions names it.")
    failure = serializers.CharField(allow_null=True, help_text="Why it failed or waits, in words.")
    device = serializers.CharField(
        help_text="Where it trains or trained last, + between several devices; empty before."
    )
    created_at = serializers.DateTimeField()
    started_at = serializers.DateTimeField(allow_null=True)
    finished_at = serializers.DateTimeField(allow_null=True)
    url = serializers.CharField(help_text="Where all of it is.")

    def get_fields(self) -> dict[str, serializers.Field]:
        run = serializers.IntegerField(allow_null=True, help_text="The run from whose version it started.")
        return super().get_fields() | {"continue": run}


class EpochSerializer(serializers.Serializer[Any]):
    number = serializers.IntegerField(min_value=1)
    loss = serializers.FloatField(allow_null=True, help_text="Mean over the photos; null where it was not finite.")
    accuracy = serializers.FloatField(allow_null=True)
    validation_loss = serializers.FloatField(allow_null=True)
    validation_top1 = serializers.FloatField(allow_null=True, help_text="Share of the validation photos.")
    learning_rate = serializers.FloatField()
    skipped_steps = serializers.IntegerField(min_value=0)
    seconds = serializers.FloatField()
    images_per_second = serializers.FloatField()
    trail = serializers.ListField(help_text="[step, learning rate, loss] of some of its steps.")


class RunSerializer(RunRowSerializer):
    """All that is known of a run, and its epochs after the one that was asked for."""

    recipe = serializers.DictField(help_text="Every hyperparameter.")
    fingerprint = serializers.CharField(help_text="Of the dataset's photos, labels and parts.")
    place = serializers.IntegerField(allow_null=True, help_text="In the queue, from 1; null where it does not wait.")
    waiting = serializers.CharField(allow_null=True, help_text="What it waits for, in words.")
    eta_seconds = serializers.FloatField(allow_null=True, help_text="How long it still takes; null where unknown.")
    live = serializers.DictField(help_text="The step under way; empty where there is none.")
    best = serializers.IntegerField(allow_null=True, help_text="The epoch whose weights are kept.")
    epochs = EpochSerializer(many=True)
    found = serializers.DictField(help_text="What a range test found.")
    measured = serializers.CharField(allow_null=True, help_text="How good its version is, in words.")
    damage = serializers.CharField(allow_null=True, help_text="What is missing of it, in words.")
    log = serializers.ListField(child=serializers.CharField(), help_text="The last lines of its log.")
    may = serializers.ListField(child=serializers.ChoiceField(choices=VERBS), help_text="What can be done with it now.")


def row(run: TrainingRun) -> dict[str, Any]:
    return {
        "id": run.pk,
        "name": run.name,
        "kind": run.kind,
        "status": run.status,
        "active": run.status in run.ACTIVE,
        "dataset": str(run.dataset),
        "preset": run.preset,
        "changes": run.changes,
        "continue": run.parent_id,
        "progress": {"done": run.progress_done, "total": run.progress_total},
        "version": str(run.version) if run.version else None,
        "version_id": run.version_id,
        "failure": run.failure or None,
        "device": run.device,
        "created_at": run.created_at,
        "started_at": run.started_at,
        "finished_at": run.finished_at,
        "url": reverse("run", args=[run.pk]),
    }


def whole(run: TrainingRun, *, after: int = 0) -> dict[str, Any]:
    """With the epochs after that one."""
    told = state(run, after=after)
    live = told["live"] if isinstance(told["live"], dict) else {}
    return row(run) | {
        "recipe": run.fields,
        "fingerprint": run.fingerprint,
        "place": told["place"],
        "waiting": told["waiting"] or None,
        "eta_seconds": live.get("remaining_seconds"),
        "live": live,
        "best": told["best"],
        "epochs": told["epochs"],
        "found": told["found"],
        "measured": measured(run) or None,
        "damage": damage(run) or None,
        "log": told["log"],
        "may": [verb for verb in VERBS if verb in possible(run)],
    }
