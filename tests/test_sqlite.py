"""The line before SQLite's write lock: in turn, past a head that is stopped, and not for ever."""

import contextlib
import fcntl
import json
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.db import OperationalError
from django.db.utils import ConnectionHandler

from breedsite.sqlite import base
from tests.processes import open_files
from tests.site import ROOT

pytestmark = pytest.mark.alone

OPTIONS = {"transaction_mode": "IMMEDIATE", "timeout": 20, "init_command": "PRAGMA journal_mode=WAL"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "site.sqlite3"


@pytest.fixture
def database(file: Path, django_db_blocker) -> Iterator[ConnectionHandler]:
    """`database["default"]` is a connection of the thread that asks, to a database with one table."""
    handler = ConnectionHandler({"default": {"ENGINE": "breedsite.sqlite", "NAME": str(file), "OPTIONS": {**OPTIONS}}})
    with django_db_blocker.unblock():
        handler["default"].cursor().execute("CREATE TABLE said (word TEXT)")
        yield handler
        handler.close_all()


@contextlib.contextmanager
def writing(database: ConnectionHandler) -> Iterator[Any]:
    """A transaction, as `atomic` makes one."""
    connection = database["default"]
    connection.set_autocommit(False, force_begin_transaction_with_broken_autocommit=True)
    yield connection.cursor()
    connection.commit()
    connection.set_autocommit(True)


def say(database: ConnectionHandler, word: str) -> None:
    try:
        with writing(database) as cursor:
            cursor.execute("INSERT INTO said VALUES (%s)", [word])
    finally:
        database["default"].close()


def said(file: Path) -> list[str]:
    with contextlib.closing(sqlite3.connect(file)) as connection:
        return [word for (word,) in connection.execute("SELECT word FROM said ORDER BY rowid")]


def somebody_waits(file: Path) -> bool:
    """Whether the head of the line is taken."""
    with Path(f"{file}-line").open("r+") as line:
        try:
            fcntl.flock(line, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def until(condition) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


def test_who_gives_the_lock_back_goes_to_the_end_of_the_line(database, file, monkeypatch):
    monkeypatch.setattr(base, "HEAD_SECONDS", 60.0)  # nobody passes a head that a busy machine stops
    for number in range(20):
        with writing(database) as cursor:
            waiting = threading.Thread(target=say, args=(database, f"other {number}"))
            waiting.start()
            until(lambda: somebody_waits(file))
        with writing(database) as cursor:  # at once: without a line it would be first
            cursor.execute("INSERT INTO said VALUES (%s)", [f"again {number}"])
        waiting.join()
    assert said(file) == [f"{who} {number}" for number in range(20) for who in ("other", "again")]


def test_statements_without_a_transaction_wait_as_well(database, file):
    with contextlib.closing(sqlite3.connect(file, check_same_thread=False)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        threading.Timer(0.2, holder.commit).start()
        database["default"].cursor().execute("INSERT INTO said VALUES ('one')")
        words = iter([("two",), ("three",)])
        database["default"].cursor().executemany("INSERT INTO said VALUES (%s)", words)
    assert said(file) == ["one", "two", "three"]


def test_a_lock_that_is_never_given_back_is_an_error_and_leaves_the_line_free(database, file, monkeypatch):
    monkeypatch.setitem(database["default"].settings_dict["OPTIONS"], "timeout", 0.1)
    with contextlib.closing(sqlite3.connect(file)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        for _ in range(2):
            with pytest.raises(OperationalError, match="database is locked"):
                say(database, "never")
            assert not somebody_waits(file)
    say(database, "later")
    assert said(file) == ["later"]


def test_a_head_that_is_stopped_is_passed(database, file, monkeypatch):
    monkeypatch.setattr(base, "HEAD_SECONDS", 0.1)
    with Path(f"{file}-line").open("r+") as line:
        fcntl.flock(line, fcntl.LOCK_EX)
        say(database, "passed")
    assert said(file) == ["passed"]


def test_a_mistake_in_a_statement_is_told_at_once(database):
    with pytest.raises(OperationalError, match="no such table"):
        database["default"].cursor().execute("SELECT * FROM missing")


def test_a_database_in_memory_has_no_line(django_db_blocker, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    handler = ConnectionHandler({"default": {"ENGINE": "breedsite.sqlite", "NAME": ":memory:"}})
    with django_db_blocker.unblock(), writing(handler) as cursor:
        cursor.execute("SELECT 1")
    handler.close_all()
    assert list(tmp_path.iterdir()) == []


def test_a_connection_that_is_closed_leaves_no_open_file(database, file):
    def files() -> int:
        return sum(str(file) in str(one) for one in open_files(os.getpid()))

    database["default"].close()
    for _ in range(3):
        say(database, "x")
    assert files() == 0


def test_the_site_uses_it():
    if settings.DATABASES["default"]["ENGINE"] != "django.db.backends.postgresql":
        assert settings.DATABASES["default"]["ENGINE"] == "breedsite.sqlite"


@pytest.mark.timeout(300)
def test_eight_writers_a_slow_reader_and_kills_lose_nothing(tmp_path):
    """In small: `python -m benchmarks.database` does it in full."""
    sizes = ["--transactions", "25", "--reader", "1", "--kills", "5"]
    command = [sys.executable, "-m", "benchmarks.database", *sizes]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert (figures["transactions"], figures["failures"]) == (8 * 25, 0)
    assert figures["log_mib_afterwards"] < 64
    killed = figures["killed"]
    assert (killed["integrity_check"], killed["runs_with_part_of_a_row"], killed["kills"]) == ("ok", 0, 5 + 8)
    assert killed["rows"] > 8 * 25


@pytest.mark.parametrize("code, asked", [(sqlite3.SQLITE_BUSY_RECOVERY, 3), (sqlite3.SQLITE_BUSY_SNAPSHOT, 1)])
def test_who_comes_while_the_log_of_a_killed_writer_is_read_waits_too(database, code, asked):
    tries = []

    def ask() -> str:
        tries.append(1)
        if len(tries) < 3:
            error = sqlite3.OperationalError("database is locked")
            error.sqlite_errorcode = code
            raise error
        return "done"

    cursor = database["default"].cursor().cursor
    with contextlib.suppress(sqlite3.OperationalError):
        assert cursor.patiently(ask) == "done"
    assert len(tries) == asked
