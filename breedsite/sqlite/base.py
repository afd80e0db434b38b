"""Django's SQLite, with a line before the write lock: processes that write get it in turn, and none waits for long.

SQLite itself has no line. Who finds the lock taken sleeps, the longer the longer it has waited, up to 100 ms, while
whoever has just given the lock back takes it again at once: under eight writers some waited for 15 seconds, one in vain
(benchmarks/database.py). Here only the head of the line asks for the lock, every two milliseconds, and who gives it
back goes to the end. The line is a file lock beside the database, which the kernel takes from a process that dies.
"""

import fcntl
import os
import sqlite3
import time
from collections.abc import Callable, Iterable
from typing import Any

from django.db.backends.sqlite3 import base

LOOK_SECONDS = 0.002
# Taken by a writer, or by who puts the log of writes in order after one was killed. SQLITE_BUSY_SNAPSHOT is none of
# these: the same statement would find it again.
TAKEN = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_BUSY_RECOVERY)
HEAD_SECONDS = 5.0  # who waits passes a head that has stood there for so long: its process may be stopped


class Cursor(base.SQLiteCursorWrapper):
    """Waits for the lock as long as the option `timeout` says, then fails as SQLite does."""

    wait_seconds: float

    def execute(self, query: str, params: Any = None) -> Any:
        return self.patiently(lambda: super(Cursor, self).execute(query, params))

    def executemany(self, query: str, param_list: Iterable[Any]) -> Any:
        rows = list(param_list)
        return self.patiently(lambda: super(Cursor, self).executemany(query, rows))

    def patiently(self, ask: Callable[[], Any]) -> Any:
        """A statement that found the lock taken has done nothing, and may be said again."""
        end = time.monotonic() + self.wait_seconds
        while True:
            try:
                return ask()
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode not in TAKEN or time.monotonic() > end:
                    raise
            time.sleep(LOOK_SECONDS)


class DatabaseWrapper(base.DatabaseWrapper):
    line: int | None = None  # the descriptor of a file: its lock is the head of the line

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        connection = super().get_new_connection(conn_params)  # its first commands wait as SQLite does
        connection.execute("PRAGMA busy_timeout = 0")
        if not self.is_in_memory_db():
            self.line = os.open(f"{conn_params['database']}-line", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        return connection

    def _close(self) -> None:
        super()._close()  # type: ignore[misc]
        if self.line is not None:
            os.close(self.line)
            self.line = None

    def create_cursor(self, name: str | None = None) -> Cursor:
        cursor: Cursor = self.connection.cursor(factory=Cursor)
        cursor.wait_seconds = self.settings_dict["OPTIONS"].get("timeout", 5.0)
        return cursor

    def _start_transaction_under_autocommit(self) -> None:
        end = time.monotonic() + HEAD_SECONDS
        while not self.at_the_head() and time.monotonic() < end:
            time.sleep(LOOK_SECONDS)
        try:
            super()._start_transaction_under_autocommit()  # type: ignore[misc]
        finally:
            if self.line is not None:
                fcntl.flock(self.line, fcntl.LOCK_UN)

    def at_the_head(self) -> bool:
        try:
            if self.line is not None:
                fcntl.flock(self.line, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
