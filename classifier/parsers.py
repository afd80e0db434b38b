"""The ways to send a photo, or many, as parsers of the API."""

import json
from io import BytesIO
from typing import Any

from django.conf import settings
from django.core.files.uploadedfile import InMemoryUploadedFile
from django.utils.datastructures import MultiValueDict
from rest_framework.exceptions import ParseError
from rest_framework.parsers import BaseParser, DataAndFiles

from classifier import multipart
from classifier.artifact import refuse_constant
from classifier.problems import Refused

MAX_FIELDS = 20
MAX_FILES = 1000  # of a form for a batch


class SentFile(InMemoryUploadedFile):
    """A file of a form. Its name stays as it was sent: it is shown, and never used as a path."""

    name = ""  # Django's own property would cut off folders and refuse some names


def read_form(stream: Any, media_type: str | None, *, most_files: int, too_many: str, most_fields: int) -> DataAndFiles:
    """The fields and files of a form, in memory. Raises Refused, ParseError."""
    fields: MultiValueDict[str, str] = MultiValueDict()
    files: MultiValueDict[str, SentFile] = MultiValueDict()
    count = field_count = 0
    try:
        boundary = multipart.boundary(media_type or "")
        body = stream.read(settings.DATA_UPLOAD_MAX_MEMORY_SIZE)
        for part in multipart.parts(body, boundary) if body else ():
            if part.is_file:
                if not part.chosen:
                    continue
                if (count := count + 1) > most_files:
                    raise Refused("too_many_files", too_many)
                name = part.filename or part.name
                files.appendlist(part.name, SentFile(BytesIO(part.data), part.name, name, None, len(part.data), None))
            elif (field_count := field_count + 1) > most_fields:
                raise Refused("malformed_request", f"A request has at most {most_fields} fields.")
            else:
                fields.appendlist(part.name, part.data.decode("utf-8", "replace"))
    except multipart.Malformed as error:
        raise ParseError from error
    return DataAndFiles(fields, files)


class PhotoFormParser(BaseParser):
    """A form with one file and a few fields, in memory: nothing of a photo is written to disk."""

    media_type = "multipart/form-data"

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        too_many = "Send one photo at a time."
        return read_form(stream, media_type, most_files=1, too_many=too_many, most_fields=MAX_FIELDS)


class BatchFormParser(BaseParser):
    """A form with many files."""

    media_type = "multipart/form-data"

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        too_many = f"A request has at most {MAX_FILES:,} files: send more of them in the next one, or a zip."
        return read_form(stream, media_type, most_files=MAX_FILES, too_many=too_many, most_fields=MAX_FIELDS)


class PieceParser(BaseParser):
    """The body is a piece of a file, whatever it is called."""

    media_type = "*/*"

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        return stream.read(settings.DATA_UPLOAD_MAX_MEMORY_SIZE)


class RawPhotoParser(BaseParser):
    """The body is the photo. Which format it is, its bytes say."""

    media_type = "image/*"

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        return stream.read(settings.MAX_IMAGE_BYTES + 1)  # one more than allowed: the guard sees that it is too large


class PhotoJsonParser(BaseParser):
    """JSON with the photo in base64. DRF's own parser holds four copies of a body at once, this one two."""

    media_type = "application/json"

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        try:
            return json.loads(stream.read(settings.DATA_UPLOAD_MAX_MEMORY_SIZE), parse_constant=refuse_constant)
        except (ValueError, RecursionError) as error:  # not JSON, not Unicode, or lists within lists within lists
            raise ParseError from error
