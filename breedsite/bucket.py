"""A bucket of S3, or of anything that speaks like it. A file of its own: who has none never loads boto."""

import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import closing
from itertools import islice
from typing import IO, Any
from urllib.parse import urlsplit

from boto3.exceptions import Boto3Error
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from storages.backends.s3 import S3Storage

from breedsite.backends import CONNECT_SECONDS, CONNECTIONS, DELETED_AT_ONCE, READ_SECONDS, TRIES, Entry


class Bucket(S3Storage):
    """One client for all threads of a process: it may be shared, and each costs memory and a tenth of a second."""

    away: tuple[type[Exception], ...] = (BotoCoreError, ClientError, Boto3Error, OSError)

    def __init__(self, url: str) -> None:
        self.address = url
        self._made = threading.Lock()
        self._client: tuple[int, Any] | None = None  # the process it belongs to: no connection survives a fork
        retries = {"max_attempts": TRIES, "mode": "standard"}
        config = Config(
            connect_timeout=CONNECT_SECONDS,
            read_timeout=READ_SECONDS,
            retries=retries,
            max_pool_connections=CONNECTIONS,
        )
        parts = urlsplit(url)
        prefix = parts.path.strip("/")
        super().__init__(bucket_name=parts.netloc, location=prefix, client_config=config, file_overwrite=True)

    @property
    def client(self) -> Any:
        with self._made:
            if self._client is None or self._client[0] != os.getpid():
                self._connections = threading.local()
                self._client = os.getpid(), self.connection.meta.client
            return self._client[1]

    def key(self, name: str) -> str:
        return f"{self.location}/{name}".lstrip("/")

    def begin(self) -> None:
        """Nothing has to be made; what boto was told of the way there is tried."""
        self.client.list_objects_v2(Bucket=self.bucket_name, Prefix=self.key(""), MaxKeys=1)

    def check(self) -> None:
        """Each request tells by itself."""

    def put(self, name: str, file: IO[bytes]) -> None:
        # A large file goes in parts, several at a time.
        self.client.upload_fileobj(file, self.bucket_name, self.key(name), Config=self.transfer_config)

    def chunks(self, name: str) -> Iterator[bytes]:
        """Raises FileNotFoundError."""
        try:
            found = self.client.get_object(Bucket=self.bucket_name, Key=self.key(name))
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") == "NoSuchKey":
                raise FileNotFoundError(name) from error
            raise
        with closing(found["Body"]) as body:
            yield from body.iter_chunks(1024**2)

    def walk(self, prefix: str) -> Iterator[Entry]:
        start = len(self.key(""))
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket_name, Prefix=self.key(prefix))
        for page in pages:
            for one in page.get("Contents", ()):
                yield Entry(one["Key"][start:], one["Size"], one["LastModified"].timestamp())

    def remove(self, names: Iterable[str]) -> None:
        left = iter(names)
        while some := [{"Key": self.key(name)} for name in islice(left, DELETED_AT_ONCE)]:
            answer = self.client.delete_objects(Bucket=self.bucket_name, Delete={"Objects": some, "Quiet": True})
            if failed := answer.get("Errors"):
                raise OSError(f"{failed[0].get('Key')} was not removed: {failed[0].get('Message')}")
