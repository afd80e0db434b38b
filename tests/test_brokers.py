"""A task goes through every broker the site may have: the site is started on it, and its first task does its work."""

import http.client
import os
import secrets
import time
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from kombu import Connection

from breedsite import health
from breedsite.celery import app
from tests.site import Site


@pytest.fixture
def unfinished(tmp_path: Path) -> Path:
    """An installation that was killed two hours ago, and beside it one under way."""
    old, new = (tmp_path / "var" / "versions" / f"dogs-{age}.tmp-0" for age in ("old", "new"))
    for folder in (old, new):
        folder.mkdir(parents=True)
        (folder / "spec.json").touch()
    long_ago = time.time() - 7200
    os.utime(old, (long_ago, long_ago))
    return old


def swept(data: Path, unfinished: Path, **settings: str) -> None:
    with Site(data, **settings) as site:
        site.wait_for(r"worker +\|.* Task classifier\.tasks\.sweep\[.*\] succeeded")
        assert not unfinished.exists()
        assert unfinished.with_name("dogs-new.tmp-0").exists()
        assert site.stop() < 10
        assert ":guest@" not in site.text  # no password of a broker in the logs


def test_a_task_goes_through_the_embedded_valkey(tmp_path, unfinished):
    swept(tmp_path / "var", unfinished)


@pytest.mark.broker
@pytest.mark.parametrize("variable", ["BROKER_URL", "CACHE_URL"])
def test_a_task_goes_through_the_broker_that_is_named(tmp_path, unfinished, variable):
    url = os.environ.get(variable)
    if not url:
        pytest.skip(f"{variable} is not set")
    queue = f"breedsite-test-{secrets.token_hex(4)}"
    try:
        swept(tmp_path / "var", unfinished, BROKER_URL=url, BROKER_QUEUE=queue)
    finally:
        with Connection(url) as connection:
            connection.default_channel.queue_delete(queue)


@pytest.mark.broker
@pytest.mark.parametrize("wrong", ["nobody:wrong", "/nowhere"])
def test_a_broker_that_lets_nobody_in_is_unreachable(settings, wrong):
    url = urlsplit(os.environ.get("BROKER_URL", ""))
    if url.scheme != "amqp":
        pytest.skip("BROKER_URL does not name a RabbitMQ")
    host = f"{url.hostname}:{url.port or 5672}"
    settings.BROKER_URL = f"amqp://{host}{wrong}" if wrong.startswith("/") else f"amqp://{wrong}@{host}//"
    assert health.broker() == "unreachable"


@pytest.mark.broker
def test_two_sites_of_one_machine_share_a_broker(tmp_path):
    """Their workers have the same name there."""
    url = os.environ.get("BROKER_URL")
    if not url:
        pytest.skip("BROKER_URL is not set")
    queues = [f"breedsite-test-{secrets.token_hex(4)}" for _ in range(2)]
    try:
        with (
            Site(tmp_path / "one", BROKER_URL=url, BROKER_QUEUE=queues[0]) as one,
            Site(tmp_path / "two", BROKER_URL=url, BROKER_QUEUE=queues[1]) as two,
        ):
            for site in (one, two):
                site.wait_for(r"worker +\|.* Task classifier\.tasks\.sweep\[.*\] succeeded", seconds=100)
            for site in (one, two):
                site.stop()
                assert "Unrecoverable error" not in site.text
    finally:
        with Connection(url) as connection:
            for queue in queues:
                connection.default_channel.queue_delete(queue)


def test_messages_are_json_and_nothing_else():
    assert set(app.conf.accept_content) == {"json"}
    assert app.conf.task_serializer == app.conf.result_serializer == "json"


@pytest.mark.parametrize("body", [b"\x80\x04.", b"cos\nsystem\n(S'true'\ntR."])
def test_a_pickled_message_is_refused_unread(body):
    from kombu.exceptions import ContentDisallowed
    from kombu.serialization import loads

    with pytest.raises(ContentDisallowed):
        loads(body, "application/x-python-serialize", "binary", accept=app.conf.accept_content)


def test_a_broker_that_is_down_keeps_nobody_from_asking(tmp_path):
    with Site(tmp_path / "var", BROKER_URL="redis://:s3cret@127.0.0.1:9/0") as site:
        site.wait_for("Ready in")
        site.wait_for(r"worker +\|.*Cannot connect to redis://")
        with closing(http.client.HTTPConnection("127.0.0.1", site.port, timeout=30)) as connection:
            connection.request("GET", "/healthz")
            assert connection.getresponse().status == 200
        assert site.stop() < 10
        assert "s3cret" not in site.text
