"""What only a real PostgreSQL can show; the rest of the suite runs on it too where DATABASE_URL names one."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.core.management import call_command
from django.db import close_old_connections, connection, connections
from django.db.utils import Error

from classifier.models import ModelVersion
from tests.artifacts import make_artifact

pytestmark = [pytest.mark.database, pytest.mark.django_db(transaction=True)]


@pytest.fixture(autouse=True)
def postgresql(db) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("DATABASE_URL names no PostgreSQL")


def test_the_migrations_make_what_the_models_say():
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)
    call_command("migrate", check_unapplied=True, verbosity=0)


def test_administrators_who_activate_at_once_leave_one_active_version(versions_dir, tmp_path):
    versions = [
        ModelVersion.objects.install(make_artifact(tmp_path / name, name=name)) for name in ("one", "two", "three")
    ]
    failures: list[BaseException] = []
    start = threading.Barrier(len(versions))

    def activate(version: ModelVersion) -> None:
        try:
            for _ in range(10):
                start.wait(30)
                version.activate()
        except BaseException as error:
            failures.append(error)
            start.abort()
            raise
        finally:
            connections.close_all()

    threads = [threading.Thread(target=activate, args=[version]) for version in versions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    assert ModelVersion.objects.filter(is_active=True).count() == 1


def test_a_connection_that_the_server_cut_is_replaced_at_the_next_request():
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (backend,) = cursor.fetchone()
    other = connections.create_connection("default")
    with other.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s)", [backend])
    other.close()
    with pytest.raises(Error):
        ModelVersion.objects.count()
    close_old_connections()  # what Django does before each request
    assert ModelVersion.objects.count() == 0


def test_threads_that_answered_a_page_hold_no_connection_afterwards(wire, client, admin_user, settings):
    """Each of the server's threads would keep one, and there are more of them than PostgreSQL has connections."""
    client.force_login(admin_user)
    cookie = f"{settings.SESSION_COOKIE_NAME}={client.cookies[settings.SESSION_COOKIE_NAME].value}"
    with ThreadPoolExecutor(16) as pool:
        statuses = list(pool.map(lambda _: wire("GET", "/admin/", cookie=cookie).status, range(48)))
    assert set(statuses) == {200}
    with connection.cursor() as cursor:
        end = time.monotonic() + 10
        while True:
            cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
            (held,) = cursor.fetchone()
            if held <= 2 or time.monotonic() > end:
                break
            time.sleep(0.1)
    assert held <= 2  # this test's own, and a page's that is just ending
