"""What may hinder the site's start, each met beforehand with a sentence that says what to do. Plain Python."""

import errno
import fcntl
import os
import shutil
import socket
import time
from pathlib import Path

from breedsite.launcher import Failed

LEAST_FREE_BYTES = 200 * 2**20  # the database, the starter model, Valkey's file and some air
LAST_ONE_GOES_SECONDS = 12.0  # how long the processes of a launcher that was killed may take to go


def room(folder: Path) -> None:
    """Raise `Failed` unless the data folder can be written and its disk has some room left."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "launcher.lock").touch()
    except OSError as error:
        raise Failed(
            f"The data folder {folder} cannot be written ({error.strerror}): "
            "set DATA_DIR to a folder that this user may write to, on a disk with room."
        ) from error
    left = shutil.disk_usage(folder).free
    if left < LEAST_FREE_BYTES:
        raise Failed(
            f"The disk of the data folder {folder} has {left >> 20} MB left, and {LEAST_FREE_BYTES >> 20} MB are "
            "needed: make room, or set DATA_DIR to a folder on another disk."
        )


def only_one(folder: Path, address: str) -> int:
    """The lock of the data folder, as a file descriptor; every process of the site inherits it.

    So it is free exactly when the last of them is gone, and a start right after a kill -9 waits for that.
    """
    lock = os.open(folder / "launcher.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    end = time.monotonic() + LAST_ONE_GOES_SECONDS
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder, _, where = os.pread(lock, 1000, 0).decode(errors="replace").strip().partition(" ")
            if time.monotonic() > end or alive(holder):
                os.close(lock)
                raise Failed(
                    f"breedsite already runs on the data folder {folder} (process {holder}, {where}): "
                    "stop it first, or set DATA_DIR and PORT to start a second one."
                ) from None
            time.sleep(0.05)
        else:
            os.ftruncate(lock, 0)
            os.pwrite(lock, f"{os.getpid()} {address}\n".encode(), 0)
            return lock


def alive(process: str) -> bool:
    """Whether the process with this number runs."""
    try:
        os.kill(int(process), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:  # it runs, under another user
        return True
    return True


def free(host: str, port: int) -> None:
    """Raise `Failed` unless the web server will be able to listen on `host` and `port`."""
    if not 1 <= port <= 65535:
        raise Failed(f"There is no port {port}: choose one between 1024 and 65535 with PORT=8000.")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as door:
            door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            door.bind(address)
            door.listen()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            advice = f"Port {port} is taken: stop the program that uses it, or choose another one with PORT={port + 1}."
        elif error.errno == errno.EACCES:
            advice = f"This user may not open port {port}: choose one above 1023 with PORT=8000."
        else:
            advice = f"The address {host}, port {port}, cannot be opened ({error.strerror}): correct HOST and PORT."
        raise Failed(advice) from error


def listens(host: str, port: int) -> bool:
    """Whether someone takes connections there."""
    try:
        with socket.create_connection((host, port), timeout=0.2):  # the unspecified address reaches this machine
            return True
    except OSError:
        return False
