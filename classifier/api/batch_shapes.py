"""The shapes of what is sent and answered about batches, for the OpenAPI document."""

from typing import Any

from rest_framework import serializers

from classifier.ensemble import Combine
from classifier.models import Batch, BatchItem
from classifier.models.batch import MOST_MEMBERS
from classifier.parsers import MAX_FILES
from classifier.serializers import RankedLabelSerializer


class ProgressSerializer(serializers.Serializer[Any]):
    done = serializers.IntegerField(min_value=0, help_text="Photos that were answered or refused.")
    total = serializers.IntegerField(min_value=0)


class CountsSerializer(serializers.Serializer[Any]):
    pending = serializers.IntegerField(min_value=0, help_text="Not looked at yet.")
    answered = serializers.IntegerField(min_value=0)
    refused = serializers.IntegerField(min_value=0, help_text="They cannot be used: each row says why.")


class SourceSerializer(serializers.Serializer[Any]):
    kind = serializers.ChoiceField(choices=[*Batch.SourceKind.values, ""], help_text="Empty until something came.")
    name = serializers.CharField(help_text="Of the zip, or of the folder on the server.")


class BatchSummarySerializer(serializers.Serializer[Any]):
    """Photos that came together, and how far their answers are."""

    id = serializers.IntegerField()
    name = serializers.CharField()
    status = serializers.ChoiceField(choices=Batch.Status.choices)
    active = serializers.BooleanField(help_text="Whether it has not ended.")
    progress = ProgressSerializer()
    eta_seconds = serializers.FloatField(allow_null=True, help_text="How long it still takes; null where unknown.")
    counts = CountsSerializer()
    versions = serializers.ListField(child=serializers.CharField(), help_text="NAME:NUMBER, the best first.")
    combine = serializers.ChoiceField(choices=[one.value for one in Combine], help_text="How several become one.")
    source = SourceSerializer()  # type: ignore[assignment] # a field's own `source` is of no use here
    notes = serializers.ListField(child=serializers.CharField(), help_text="What one should know about the source.")
    failure = serializers.CharField(allow_null=True, help_text="Why it failed, as a sentence.")
    device = serializers.CharField(allow_null=True, help_text="What answered.")
    owner = serializers.CharField(allow_null=True)
    created_at = serializers.DateTimeField()
    started_at = serializers.DateTimeField(allow_null=True)
    finished_at = serializers.DateTimeField(allow_null=True)
    photos_gone_at = serializers.DateTimeField(allow_null=True, help_text="Since then the answers alone are here.")
    items = serializers.CharField(help_text="Where its rows are.")
    results = serializers.CharField(help_text="Where its files are.")
    page = serializers.CharField(help_text="The same for people.")


class BatchSerializer(BatchSummarySerializer):
    """A batch with the labels that its answers are among."""

    labels = serializers.ListField(child=serializers.CharField())


class BatchListSerializer(serializers.Serializer[Any]):
    results = BatchSummarySerializer(many=True)
    next = serializers.CharField(allow_null=True, help_text="The address of the next page.")


class BatchItemSerializer(serializers.Serializer[Any]):
    """One photo, and what was found in it or why not."""

    position = serializers.IntegerField(min_value=1, help_text="In the order in which the photos came.")
    file = serializers.CharField()
    status = serializers.ChoiceField(choices=BatchItem.Status.choices)
    code = serializers.CharField(allow_null=True, help_text="Of a refusal.")
    detail = serializers.CharField(allow_null=True, help_text="The refusal as a sentence.")
    label = serializers.CharField(allow_null=True)  # type: ignore[assignment] # as above
    probability = serializers.FloatField(allow_null=True, min_value=0, max_value=1)
    sure = serializers.BooleanField(allow_null=True)
    animated = serializers.BooleanField(help_text="Only the first of its frames was looked at.")
    top = RankedLabelSerializer(many=True, help_text="The most probable labels, best first.")


class BatchItemListSerializer(serializers.Serializer[Any]):
    results = BatchItemSerializer(many=True)
    next = serializers.CharField(allow_null=True, help_text="The address of the next page.")


class NewBatchSerializer(serializers.Serializer[Any]):
    """A batch without photos yet, or of a folder on the server."""

    name = serializers.CharField(required=False, allow_blank=True, max_length=100)
    versions = serializers.ListField(
        child=serializers.CharField(),
        required=False,
        max_length=MOST_MEMBERS,
        help_text="NAME, NAME:NUMBER or digest; by itself the one that is active. All must know the same labels.",
    )
    combine = serializers.ChoiceField(choices=[one.value for one in Combine], required=False)
    open = serializers.BooleanField(required=False, help_text="Photos are sent afterwards; `start` says the last came.")
    server = serializers.CharField(required=False, help_text="A folder or zip on the server; for staff.")


class BatchFormSerializer(serializers.Serializer[Any]):
    """A batch with its photos, or with the first of them."""

    files = serializers.ListField(
        child=serializers.FileField(), required=False, help_text=f"At most {MAX_FILES:,} photos, or exactly one zip."
    )
    name = serializers.CharField(required=False, allow_blank=True, max_length=100)
    versions = serializers.ListField(child=serializers.CharField(), required=False, max_length=MOST_MEMBERS)
    combine = serializers.ChoiceField(choices=[one.value for one in Combine], required=False)
    open = serializers.BooleanField(required=False, help_text="More photos follow.")


class FilesFormSerializer(serializers.Serializer[Any]):
    files = serializers.ListField(child=serializers.FileField())


class CameSerializer(serializers.Serializer[Any]):
    photos = serializers.IntegerField(help_text="How many the batch has now.")
    refused = BatchItemSerializer(many=True, help_text="Those of this request that cannot be used.")


class ReceivedSerializer(serializers.Serializer[Any]):
    received = serializers.IntegerField(help_text="Bytes of the zip that are here.")
