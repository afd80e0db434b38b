"""The three ways to send a photo, as parsers of the API."""

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


class PhotoFormParser(BaseParser):
    """A form with one file and a few fields, in memory: nothing of a photo is written to disk."""

    media_type = "multipart/form-data"

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        fields: MultiValueDict[str, str] = MultiValueDict()
        files: MultiValueDict[str, InMemoryUploadedFile] = MultiValueDict()
        try:
            boundary = multipart.boundary(media_type or "")
            body = stream.read(settings.DATA_UPLOAD_MAX_MEMORY_SIZE)
            for part in multipart.parts(body, boundary) if body else ():
                if part.is_file:
                    if not part.chosen:
                        continue
                    if files:
                        raise Refused("too_many_files", "Send one photo at a time.")
                    files[part.name] = InMemoryUploadedFile(
                        BytesIO(part.data), part.name, None, None, len(part.data), None
                    )
                elif len(fields) >= MAX_FIELDS:
                    raise Refused("malformed_request", f"A request has at most {MAX_FIELDS} fields.")
                else:
                    fields.appendlist(part.name, part.data.decode("utf-8", "replace"))
        except multipart.Malformed as error:
            raise ParseError from error
        return DataAndFiles(fields, files)


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
