"""The JSON of the API: what a prediction and a version look like from outside."""

from typing import Any

from django.conf import settings
from rest_framework import serializers

from classifier.guard import Limits
from classifier.labels import verdict
from classifier.predictor import Identity, Prediction
from classifier.spec import Spec

LIMITS = Limits(max_bytes=settings.MAX_IMAGE_BYTES)
ACCEPTED = f"JPEG, PNG or WebP, at most {LIMITS.max_bytes / 1024**2:g} MB and {LIMITS.max_pixels / 1e6:g} megapixels"
DEFAULT_TOP_K = 5
MAX_TOP_K = 1000


class VersionSerializer(serializers.Serializer[Identity]):
    name = serializers.CharField(help_text="Name of the model.")
    number = serializers.IntegerField(min_value=1, help_text="Counts the versions of one name.")
    digest = serializers.RegexField(r"^[0-9a-f]{64}$", help_text="SHA-256 of the version's spec.json.")

    def to_representation(self, identity: Identity) -> dict[str, Any]:
        return {"name": identity.name, "number": identity.number, "digest": identity.digest}


class RankedLabelSerializer(serializers.Serializer[Any]):
    label = serializers.CharField()  # type: ignore[assignment]  # a field's own `label` is of no use here
    probability = serializers.FloatField(min_value=0, max_value=1)


class PredictionSerializer(serializers.Serializer[Prediction]):
    """Answers one photo; `top_k` of the context says how many labels `top` holds."""

    prediction = serializers.IntegerField(min_value=0, help_text="Index of the most probable label.")
    results = serializers.ListField(
        child=serializers.ListField(child=serializers.FloatField(min_value=0, max_value=1)),
        min_length=1,
        max_length=1,
        help_text="One row: the probability of every label, in the order of `labels` of `/api/model`; its sum is 1.",
    )
    label = serializers.CharField(help_text="The most probable label.")  # type: ignore[assignment]
    top = RankedLabelSerializer(many=True, help_text="The most probable labels, best first.")
    sure = serializers.BooleanField(help_text="False where fewer than half of such answers were right in validation.")
    message = serializers.CharField(help_text="The answer as a sentence.")
    version = VersionSerializer(help_text="The version that answered.")
    elapsed_ms = serializers.FloatField(
        min_value=0, help_text="Time in the server's decoder and network, waiting included."
    )
    device = serializers.CharField(
        help_text="What computed it: `cpu`, or a GPU such as `cuda:0`, where the third digit may be another."
    )
    warning = serializers.CharField(
        required=False, help_text="Only where something about the picture was left out, such as further frames."
    )

    def to_representation(self, answer: Prediction) -> dict[str, Any]:
        # By hand, not field by field: at 120 labels the fields would cost more than the rest of the request.
        data = {
            "prediction": answer.index,
            "results": [answer.probabilities.tolist()],
            "label": answer.label,
            "top": [{"label": label, "probability": p} for label, p in answer.top(self.context["top_k"])],
            "sure": answer.sure,
            "message": verdict(answer.label, sure=answer.sure),
            "version": VersionSerializer().to_representation(answer.identity),
            "elapsed_ms": round(answer.elapsed_seconds * 1000, 3),
            "device": answer.device,
        }
        if answer.warning:
            data["warning"] = answer.warning
        return data


class TopK(serializers.IntegerField):
    def __init__(self) -> None:
        super().__init__(
            required=False,
            default=DEFAULT_TOP_K,
            min_value=1,
            max_value=MAX_TOP_K,
            help_text="How many labels `top` holds; more than there are gives all.",
        )


class PhotoFormSerializer(serializers.Serializer[Any]):
    """The photo as a field of a form."""

    image = serializers.FileField(help_text=f"{ACCEPTED}; its bytes decide.")
    top_k = TopK()


class PhotoJsonSerializer(serializers.Serializer[Any]):
    """The photo within JSON."""

    image_base64 = serializers.CharField(
        help_text="The photo's bytes in base64; line breaks and a `data:` prefix are allowed."
    )
    top_k = TopK()


class ModelSerializer(serializers.Serializer[Any]):
    """What answers now, and how good it was measured to be."""

    version = VersionSerializer()
    labels = serializers.ListField(child=serializers.CharField(), help_text="In the order of `results`.")
    architecture = serializers.DictField(help_text="The network.")
    preprocessing = serializers.DictField(help_text="What is done to a photo before the network sees it.")
    calibration = serializers.DictField(help_text="How logits become probabilities, and when an answer is unsure.")
    quality = serializers.DictField(
        allow_null=True, help_text="Measured on photos that training never saw, with n and 95 % Wilson intervals."
    )
    origin = serializers.DictField(help_text="The card: data, recipe, licence, what it is for and what not.")


def model(identity: Identity, spec: Spec) -> dict[str, Any]:
    document = spec.as_dict()
    return {
        "version": VersionSerializer().to_representation(identity),
        **{key: document[key] for key in map(str, ModelSerializer().fields) if key != "version"},
    }


class ProblemSerializer(serializers.Serializer[Any]):
    """A refusal (RFC 9457, application/problem+json)."""

    type = serializers.CharField(help_text="An address of the kind of problem.")
    title = serializers.CharField(help_text="The kind of problem.")
    status = serializers.IntegerField(help_text="The HTTP status.")
    detail = serializers.CharField(help_text="A sentence for people: what is wrong, and what to do.")
    code = serializers.CharField(help_text="The kind of problem, for programs.")
    request_id = serializers.CharField(help_text="Names this request; with it a failure is found in the server's log.")
    image = serializers.ListField(
        child=serializers.CharField(), required=False, help_text="The sentence again, where it concerns the picture."
    )
    fields = serializers.DictField(  # type: ignore[assignment]  # a serializer's own `fields` is asked for by nobody here
        child=serializers.CharField(), required=False, help_text="A sentence for each field that is wrong."
    )
    received = serializers.IntegerField(required=False, help_text="How much of a file is here already, in bytes.")
