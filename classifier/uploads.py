"""Uploads stay in memory: nothing of a photo touches the disk, and no more of it is kept than may be sent."""

from io import BytesIO
from typing import Any

from django.conf import settings
from django.core.files.uploadedfile import InMemoryUploadedFile
from django.core.files.uploadhandler import FileUploadHandler


class MemoryUploadHandler(FileUploadHandler):
    """Keeps one byte more of each file than `MAX_IMAGE_BYTES`, so that the guard sees which are too large."""

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        super().new_file(*args, **kwargs)
        self.chunks: list[bytes] = []
        self.room = settings.MAX_IMAGE_BYTES + 1

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        if self.room:
            self.chunks.append(raw_data[: self.room])
            self.room -= len(self.chunks[-1])

    def file_complete(self, file_size: int) -> InMemoryUploadedFile:
        content = BytesIO(b"".join(self.chunks))
        return InMemoryUploadedFile(
            content,
            self.field_name,
            self.file_name,
            self.content_type,
            file_size,
            self.charset,
            self.content_type_extra,
        )
