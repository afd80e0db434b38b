"""The JSON of versions: what a model looks like from outside, with what was measured of it and whence it is."""

from typing import Any

from django.urls import reverse
from rest_framework import serializers

from classifier.artifact import ArtifactError
from classifier.models import ModelVersion
from classifier.spec import Spec


class RateSerializer(serializers.Serializer[Any]):
    value = serializers.FloatField(min_value=0, max_value=1, help_text="Share of the photos that was right.")
    correct = serializers.IntegerField(min_value=0)
    low = serializers.FloatField(min_value=0, max_value=1, help_text="The 95 % interval begins here")
    high = serializers.FloatField(min_value=0, max_value=1, help_text="and ends here.")


class MeasuredSerializer(serializers.Serializer[Any]):
    split = serializers.CharField(help_text="The photos it was measured on: `test` was sealed until then.")
    n = serializers.IntegerField(min_value=1, help_text="How many photos.")
    top1 = RateSerializer(help_text="The first label is right.")
    top5 = RateSerializer(help_text="The right label is among the first five.")


class VersionRowSerializer(serializers.Serializer[Any]):
    """A version of a model."""

    id = serializers.IntegerField()
    version = serializers.CharField(help_text="NAME:NUMBER.")
    name = serializers.CharField()
    number = serializers.IntegerField(min_value=1)
    digest = serializers.CharField(help_text="SHA-256 of its spec.json.")
    is_active = serializers.BooleanField(help_text="Whether it answers now.")
    label_count = serializers.IntegerField(min_value=0, help_text="How many labels it knows.")
    quality = MeasuredSerializer(allow_null=True, help_text="null where nobody measured.")
    failure = serializers.CharField(allow_null=True, help_text="Why it could not be activated or loaded.")
    created_at = serializers.DateTimeField(help_text="When it was installed.")
    activated_at = serializers.DateTimeField(allow_null=True)
    url = serializers.CharField(help_text="Where all of it is.")


class VersionCardSerializer(VersionRowSerializer):
    """All that is known of a version."""

    quality = serializers.DictField(  # type: ignore[assignment]  # the same, and more of it
        allow_null=True, help_text="As in the list, and by label: n, correct, interval, what it was taken for."
    )
    spec = serializers.DictField(help_text="Architecture, labels, preprocessing, calibration, files.")
    lineage = serializers.DictField(help_text="Data, recipe, seed, code, packages, device, licence, what it is for.")
    export = serializers.CharField(help_text="Where its files are, as a zip.")


def row(version: ModelVersion) -> dict[str, Any]:
    return as_row(version, *read(version))


def card(version: ModelVersion) -> dict[str, Any]:
    """A damaged row has an empty spec, and says what is wrong."""
    spec, damage = read(version)
    document = spec.as_dict() if spec else {}
    quality, lineage = document.pop("quality", None), document.pop("origin", {})
    return as_row(version, spec, damage) | {
        "quality": quality,
        "spec": document,
        "lineage": lineage,
        "export": reverse("version_export", args=[version.pk]),
    }


def read(version: ModelVersion) -> tuple[Spec | None, str]:
    """What its row says, or why that cannot be read."""
    try:
        return version.card, ""
    except ArtifactError as error:
        return None, f"{version} cannot be read: {error}."


def as_row(version: ModelVersion, spec: Spec | None, damage: str) -> dict[str, Any]:
    quality = spec.quality if spec else None
    return {
        "id": version.pk,
        "version": str(version),
        "name": version.name,
        "number": version.number,
        "digest": version.digest,
        "is_active": version.is_active,
        "label_count": len(spec.labels) if spec else 0,
        "quality": quality
        and {
            "split": quality.split,
            "n": quality.n,
            "top1": quality.top1.as_dict(),
            "top5": quality.top5.as_dict(),
        },
        "failure": version.failure or damage or None,
        "created_at": version.created_at,
        "activated_at": version.activated_at,
        "url": reverse("version", args=[version.pk]),
    }
