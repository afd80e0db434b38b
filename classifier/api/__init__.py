"""The REST API: a photo in, labels out; what answers; and the documentation of both."""

import base64
import binascii
from typing import Any

from django.apps import apps
from django.conf import settings
from django.http import HttpRequest
from drf_spectacular.views import SpectacularJSONAPIView, SpectacularSwaggerSplitView
from rest_framework.permissions import AllowAny, BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from breedsite.access import AlwaysJson, Bearer, Session, key_of, need_scope
from classifier import schema, serializers
from classifier.apps import ClassifierConfig
from classifier.parsers import PhotoFormParser, PhotoJsonParser, RawPhotoParser
from classifier.predictor import NoActiveVersion, Predictor
from classifier.problems import Refused
from classifier.throttles import PredictThrottle


def may_predict(request: HttpRequest | Request) -> bool:
    """Whether whoever asks may ask at all. A key needs its scope, even where nobody needs a key."""
    if (key := key_of(request)) is not None:
        return key.allows("predict")
    return settings.ALLOW_ANONYMOUS_PREDICT or bool(request.user and request.user.is_authenticated)


class MayPredict(BasePermission):
    def has_permission(self, request: Request, view: APIView) -> bool:
        if (key := key_of(request)) is not None:
            need_scope(key, "predict")
        return may_predict(request)


class PredictImage(APIView):
    anonymous = True  # unless ALLOW_ANONYMOUS_PREDICT says otherwise
    scopes = {"POST": "predict"}
    authentication_classes = [Bearer, Session]
    permission_classes = [MayPredict]
    throttle_classes = [PredictThrottle]
    parser_classes = [PhotoFormParser, RawPhotoParser, PhotoJsonParser]
    content_negotiation_class = AlwaysJson

    @schema.predict_image
    def post(self, request: Request) -> Response:
        data, top_k = photo(request)
        answer = predictor().predict(data)
        return Response(serializers.PredictionSerializer(answer, context={"top_k": top_k}).data)


class Model(APIView):
    authentication_classes: list[Any] = []
    permission_classes = [AllowAny]
    content_negotiation_class = AlwaysJson

    @schema.model
    def get(self, request: Request) -> Response:
        current = predictor().current
        if current is None:
            raise NoActiveVersion
        return Response(serializers.model(current.identity, current.spec))


class Schema(SpectacularJSONAPIView):
    """The OpenAPI document."""

    authentication_classes: list[Any] = []
    permission_classes = [AllowAny]
    content_negotiation_class = AlwaysJson


class Docs(SpectacularSwaggerSplitView):
    """The same as a page to read and try, made of files of this server alone."""

    authentication_classes: list[Any] = []
    permission_classes = [AllowAny]
    template_name = "api_docs.html"
    url_name = "schema"


def config() -> ClassifierConfig:
    found = apps.get_app_config("classifier")
    assert isinstance(found, ClassifierConfig)
    return found


def predictor() -> Predictor:
    return config().predictor


def photo(request: Request) -> tuple[bytes, int]:
    """The photo's bytes and `top_k` of a request of any of the three kinds; Refused for what is not one photo."""
    body: Any = request.data
    if isinstance(body, bytes):
        return body, top_k(request.query_params.get("top_k"))
    if not body and not request.FILES and request.content_type.startswith("image/"):
        return b"", serializers.DEFAULT_TOP_K  # an empty file, sent as it is: DRF asks no parser about it
    if request.FILES:
        return uploaded(request), top_k(body.get("top_k", request.query_params.get("top_k")))
    if not isinstance(body, dict):
        raise Refused("malformed_request", "Send a JSON object with image_base64.")
    if not isinstance(text := body.get("image_base64"), str) or not text:
        raise Refused("missing_image", "No file was submitted.")
    return from_base64(text), top_k(body.get("top_k", request.query_params.get("top_k")))


def uploaded(request: Request) -> bytes:
    """The photo of a form."""
    if "image" not in request.FILES:
        raise Refused("missing_image", "No file was submitted.")
    return request.FILES["image"].read()


def from_base64(text: str) -> bytes:
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        sentence = "image_base64 is not base64."
        raise Refused("malformed_request", sentence, image=[sentence]) from error


def top_k(value: object) -> int:
    if value is None or value == "":
        return serializers.DEFAULT_TOP_K
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 6:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= serializers.MAX_TOP_K:
        raise Refused("malformed_request", f"top_k is a whole number from 1 to {serializers.MAX_TOP_K}.")
    return value
