"""Storages that hosts share, for tests: a folder, or a bucket of moto's server, which speaks S3 over HTTP.

A pytest plugin (`-p tests.buckets`). Who asks for no bucket loads neither moto nor boto.
"""

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from breedsite.storage import Store

KEYS = {"AWS_ACCESS_KEY_ID": "tests", "AWS_SECRET_ACCESS_KEY": "tests", "AWS_DEFAULT_REGION": "us-east-1"}


@pytest.fixture(scope="session")
def moto() -> Iterator[str]:
    """The address of moto's server, on a free port."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(moto: str, monkeypatch) -> str:
    """A new bucket there, which boto finds by its own variables: s3://..."""
    import boto3

    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", moto)
    name = f"breeds-{uuid.uuid4().hex[:12]}"
    boto3.client("s3").create_bucket(Bucket=name)
    return f"s3://{name}/a/prefix"


def share(settings: Any, url: str) -> "Store":
    """Let the site of this test use that storage."""
    from breedsite.environment import shared_storage
    from breedsite.storage import store

    settings.STORAGE_URL = url
    settings.STORAGES = {**settings.STORAGES, "shared": shared_storage(url)}
    found = store()
    found.begin()
    return found


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return (tmp_path / "mnt").as_uri()


@pytest.fixture(params=["folder", "bucket"])
def shared(request, settings) -> "Store":
    """A storage of either kind."""
    return share(settings, request.getfixturevalue(request.param))


@pytest.fixture
def hosts(settings, tmp_path: Path) -> Callable[[str], None]:
    """hosts("a") lets this process be the host of that name: with folders of its own."""

    def become(name: str) -> None:
        settings.DATA_DIR = tmp_path / name
        for kind in ("versions", "datasets", "batches", "runs", "uploads", "sets"):
            setattr(settings, f"{kind.upper()}_DIR", tmp_path / name / kind)

    become("a")
    return become
