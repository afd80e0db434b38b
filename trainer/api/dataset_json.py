"""The JSON of datasets and their photos: what a program says to import some, and what it hears of them."""

from typing import Any

from django.urls import reverse
from rest_framework import serializers

from breedsite.body import Number, Share, Text, Uuid
from breedsite.waiting import waiting
from classifier.uploads import MAX_BYTES, PIECE_BYTES
from trainer.admin.dataset import downloaded
from trainer.admin.photos import FLAGS
from trainer.admin.report import COLUMNS
from trainer.ingest import download
from trainer.models import Dataset, Photo
from trainer.models.dataset import NAME
from trainer.models.importing import FRACTIONS, SEED
from trainer.presets import CATALOGUE


class NewDatasetSerializer(serializers.Serializer[Any]):
    """An import: of an upload, of a folder or zip on the server, or of a set that everybody knows."""

    name = Text(max_length=64, validators=[NAME], help_text="A name that was used before gets its next version.")
    upload = Uuid(required=False, help_text="The number under which the pieces of a zip were sent.")
    upload_name = Text(max_length=255, required=False, help_text="What the zip is called.")
    server = Text(
        max_length=1000, required=False, help_text="A path inside one of the folders of DATASETS_SOURCE_DIRS."
    )
    builtin = serializers.ChoiceField(
        choices=sorted(download.SETS), required=False, help_text="Downloaded from where its authors publish it."
    )
    preset = serializers.ChoiceField(
        choices=sorted(CATALOGUE), required=False, help_text="Divide as the system does that it is named after."
    )
    fractions = serializers.ListField(
        child=Share(min_value=0.01, max_value=0.98),
        min_length=3,
        max_length=3,
        required=False,
        help_text=f"Shares that train, validate and test; {', '.join(map(str, FRACTIONS))} where none are named.",
    )
    seed = Number(
        min_value=0, max_value=2**31 - 1, required=False, help_text=f"Of the division; {SEED} where none is named."
    )
    rename = serializers.DictField(
        child=Text(max_length=200), required=False, help_text="Name of a folder -> its label."
    )


class PhotoCountsSerializer(serializers.Serializer[Any]):
    train = serializers.IntegerField(min_value=0)
    validation = serializers.IntegerField(min_value=0)
    test = serializers.IntegerField(min_value=0)


class ImportProgressSerializer(serializers.Serializer[Any]):
    done = serializers.IntegerField(min_value=0, help_text="Photos.")
    total = serializers.IntegerField(min_value=0, help_text="0 while that is not known yet.")


class OriginSerializer(serializers.Serializer[Any]):
    kind = serializers.ChoiceField(choices=Dataset.SourceKind.values)
    name = serializers.CharField(help_text="Of the file, folder or set.")


class DatasetRowSerializer(serializers.Serializer[Any]):
    """Photos with labels, divided once, and never changed."""

    id = serializers.IntegerField()
    dataset = serializers.CharField(help_text="NAME:NUMBER.")
    name = serializers.CharField()
    number = serializers.IntegerField(min_value=1)
    status = serializers.ChoiceField(choices=Dataset.Status.values)
    active = serializers.BooleanField(help_text="Whether it may still change by itself.")
    progress = ImportProgressSerializer()
    label_count = serializers.IntegerField(min_value=0)
    photos = PhotoCountsSerializer(help_text="Of each part, without those left out.")
    origin = OriginSerializer()
    parent = serializers.IntegerField(  # type: ignore[assignment]  # a field's own `parent` is of no use here
        allow_null=True, help_text="The one of which it was made by changes."
    )
    failure = serializers.CharField(allow_null=True, help_text="Why it was refused or failed, in words.")
    created_at = serializers.DateTimeField()
    started_at = serializers.DateTimeField(allow_null=True)
    finished_at = serializers.DateTimeField(allow_null=True)
    url = serializers.CharField(help_text="Where all of it is.")


class DatasetSerializer(DatasetRowSerializer):
    """All that is known of a dataset but its report and its photos."""

    labels = serializers.ListField(child=serializers.CharField(), help_text="In the order of a network's outputs.")
    options = serializers.DictField(help_text="fractions, seed, rename.")
    fingerprint = serializers.CharField(help_text="SHA-256 of pixels, labels and parts; empty before the end.")
    place = serializers.IntegerField(allow_null=True, help_text="In the queue, from 1; null where it does not wait.")
    waiting = serializers.CharField(allow_null=True, help_text="What it waits for, in words.")
    downloaded_bytes = serializers.IntegerField(min_value=0, help_text="Of the file that is fetched just now.")
    is_missing = serializers.BooleanField(help_text="Whether somebody took its photos away.")
    used = serializers.BooleanField(help_text="Whether a run was started on it: then it stays.")
    report = serializers.CharField(help_text="Where its report is, once it has one.")
    photos_url = serializers.CharField(help_text="Where its photos are listed.")


class ReportSerializer(serializers.Serializer[Any]):
    """What an import found: counts, duplicates, what cannot be read, what contradicts itself."""

    dataset = serializers.CharField()
    status = serializers.ChoiceField(choices=Dataset.Status.values)
    failure = serializers.CharField()
    source_kind = serializers.CharField()
    source_name = serializers.CharField()
    options = serializers.DictField()
    fingerprint = serializers.CharField()
    labels = serializers.ListField(child=serializers.CharField())
    counts = serializers.DictField()
    report = serializers.DictField(help_text="Empty before the end of the import.")


class PhotoSerializer(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    name = serializers.CharField(help_text="In the source.")
    label = serializers.CharField()  # type: ignore[assignment]  # a field's own `label` is of no use here
    part = serializers.ChoiceField(choices=Photo.Part.values)
    flag = serializers.ChoiceField(choices=["", *FLAGS], help_text="Why a person should look at it.")
    excluded = serializers.BooleanField(help_text="Whether it is left out.")
    example = serializers.BooleanField(help_text="Whether it is on the front page.")
    width = serializers.IntegerField(min_value=1)
    height = serializers.IntegerField(min_value=1)
    bytes = serializers.IntegerField(min_value=0)
    sha256 = serializers.CharField(help_text="Of the file.")


class UploadSerializer(serializers.Serializer[Any]):
    received = serializers.IntegerField(min_value=0, help_text="Bytes of the zip that are here: send what follows.")
    piece_bytes = serializers.IntegerField(help_text=f"A good size of a piece: {PIECE_BYTES}.")
    max_bytes = serializers.IntegerField(help_text=f"The largest zip: {MAX_BYTES}.")


def row(dataset: Dataset) -> dict[str, Any]:
    counts = dataset.counts if isinstance(dataset.counts, dict) else {}
    return {
        "id": dataset.pk,
        "dataset": str(dataset),
        "name": dataset.name,
        "number": dataset.number,
        "status": dataset.status,
        "active": dataset.status in Dataset.ACTIVE,
        "progress": {"done": dataset.progress_done, "total": dataset.progress_total},
        "label_count": len(dataset.known_labels),
        "photos": {part: counts.get(part, 0) for part in Photo.Part.values},
        "origin": {"kind": dataset.source_kind, "name": dataset.source_name},
        "parent": dataset.parent_id,
        "failure": dataset.failure or None,
        "created_at": dataset.created_at,
        "started_at": dataset.started_at,
        "finished_at": dataset.finished_at,
        "url": reverse("dataset", args=[dataset.pk]),
    }


def whole(dataset: Dataset) -> dict[str, Any]:
    options = dataset.options if isinstance(dataset.options, dict) else {}
    return row(dataset) | {
        "labels": dataset.known_labels,
        "options": {name: options[name] for name in ("fractions", "seed", "rename") if name in options},
        "fingerprint": dataset.fingerprint,
        "place": dataset.place,
        "waiting": waiting(dataset) or None,
        "downloaded_bytes": downloaded(dataset),
        "is_missing": dataset.is_missing,
        "used": dataset.used,
        "report": reverse("dataset_report", args=[dataset.pk]),
        "photos_url": reverse("dataset_photos", args=[dataset.pk]),
    }


def photo_row(photo: Photo) -> dict[str, Any]:
    return {"id": photo.pk} | {name: getattr(photo, name) for name in COLUMNS}


def received(count: int) -> dict[str, int]:
    return {"received": count, "piece_bytes": PIECE_BYTES, "max_bytes": MAX_BYTES}
