"""What a program sends as JSON: an object whose fields are read one by one, and refused by their names."""

import json
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from django.conf import settings
from rest_framework import serializers
from rest_framework.exceptions import UnsupportedMediaType
from rest_framework.parsers import BaseParser
from rest_framework.request import Request
from rest_framework.response import Response

from breedsite.access import ProgramView
from classifier.artifact import refuse_constant
from classifier.problems import Refused

SHOWN = 50  # characters of a name that is none


class JsonBody(BaseParser):
    """An object; numbers that JSON has not, and halves of characters, are refused."""

    media_type = "application/json"

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> dict[str, Any]:
        try:
            found = json.loads(stream.read(settings.DATA_UPLOAD_MAX_MEMORY_SIZE), parse_constant=refuse_constant)
            json.dumps(found, ensure_ascii=False).encode()  # no database takes half a character
        except (ValueError, RecursionError) as error:
            raise Refused("malformed_request", "The body is not JSON.") from error
        if not isinstance(found, dict):
            raise Refused("malformed_request", "Send a JSON object, in braces.")
        return found


class JsonView(ProgramView):
    """A view that is sent JSON, or nothing."""

    parser_classes = [JsonBody]
    accepted = "Send JSON, with Content-Type: application/json."

    def handle_exception(self, exc: Exception) -> Response:
        if isinstance(exc, UnsupportedMediaType):
            exc = Refused("unsupported_format", self.accepted, about_the_picture=False)
        return super().handle_exception(exc)


class Strict(serializers.Field):
    """A field that takes JSON of its own kind alone: the text "3" is no number, and 3 no text."""

    kind: type
    said: str

    def to_internal_value(self, data: Any) -> Any:
        if type(data) is not self.kind and (self.kind, type(data)) != (float, int):
            raise serializers.ValidationError(f"This is {self.said}, not {json.dumps(data)[:SHOWN]}.")
        return super().to_internal_value(data)


class Text(Strict, serializers.CharField):
    kind, said = str, "a text"

    def __init__(self, **options: Any) -> None:
        super().__init__(trim_whitespace=False, **options)


class Number(Strict, serializers.IntegerField):
    kind, said = int, "a whole number"


class Share(Strict, serializers.FloatField):
    kind, said = float, "a number"


class Uuid(Strict, serializers.UUIDField):
    kind, said = str, "a UUID"


def checked(serializer: type[serializers.Serializer], request: Request) -> dict[str, Any]:
    """The fields of the body as the serializer understands them. Raises Refused, which names each that is wrong, and
    each that there is none of."""
    data = request.data
    known = list(serializer().fields)
    if unknown := {name[:SHOWN]: no_field(name, known) for name in data if name not in known}:
        raise wrong(unknown)
    read = serializer(data=data)
    if not read.is_valid():
        raise wrong({name: first(errors) for name, errors in read.errors.items()})
    found: dict[str, Any] = read.validated_data
    return found


def wrong(fields: Mapping[str, str]) -> Refused:
    """A refusal that names fields: the first in its sentence, all under `fields`."""
    name, sentence = next(iter(fields.items()))
    return Refused("invalid_fields", sentence if name in sentence else f"{name}: {sentence}", fields=dict(fields))


def no_field(name: str, known: list[str]) -> str:
    near = get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known) or 'none'}."
    return f"There is no field {name[:SHOWN]!r}: {hint}"


def first(errors: Any) -> str:
    """The first sentence of a serializer's errors, however deep it lies."""
    while not isinstance(errors, str):
        errors = next(iter(errors.values() if isinstance(errors, Mapping) else errors))
    return str(errors)
