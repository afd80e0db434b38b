"""Whatever may break is broken, again and again: no run may be lost, doubled or stuck, and each must end with the bits
that it would have had undisturbed.

    python -m benchmarks.chaos                              # all parts in their full size: this takes hours
    python -m benchmarks.chaos kills points --kills 10      # these, and less of one of them

All parts in half an hour: --kills 25 --points 1 --freezes 5 --stops 10 --cancels 10 --disk 1

Each part is a module of this package whose `measure(options)` returns figures; it runs in a process of its own, with a
data folder of its own, which is removed afterwards. Parts of the whole site run on SQLite and the embedded Valkey, and
once more on each of DATABASE_URL (a PostgreSQL, in which a database of their own is made) and BROKER_URL that is set.
The figures are printed as JSON; what goes on is told on the standard error. Exits with 1 when something did not hold.
"""

import argparse
import contextlib
import itertools
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks.site import ROOT, free_port
from breedsite.tether import die_with

CHOSEN_BY_US = ("DATABASE_URL", "BROKER_URL", "CACHE_URL", "SITE_URL", "BROKER_QUEUE")


@dataclass(frozen=True)
class Part:
    size: int  # how often, unless the command line says otherwise
    what: str
    everywhere: bool = True  # on every database and broker
    usual: bool = True  # done where no part is named


PARTS = {
    "small": Part(5, "kills and every named place once, on one site, for the tests", usual=False),
    "kills": Part(100, "kill -9 at random moments of any process of the site"),
    "points": Part(5, "a death at each named place of the source"),
    "freezes": Part(20, "SIGSTOP of whoever holds a run, until another has taken it over"),
    "stops": Part(50, "SIGTERM to the worker at random moments"),
    "cancels": Part(100, "a run stopped by a person at a random moment"),
    "checkpoints": Part(50, "a kill while a checkpoint is written, and a damaged one", everywhere=False),
    "starts": Part(200, "starts and claims at the same moment"),
    "batches": Part(50, "kill -9 of who answers a batch of photos"),
    "disk": Part(5, "each place where something is stored on a disk that is full", everywhere=False),
    "outages": Part(20, "the broker killed and away, and a PostgreSQL stopped or killed", everywhere=False),
}


@dataclass(frozen=True)
class Ground:
    """A database and a broker; None is the one of a site that names none."""

    database: str | None
    broker: str | None

    def __str__(self) -> str:
        return f"{'PostgreSQL' if self.database else 'SQLite'} and {kind(self.broker) if self.broker else 'Valkey'}"


def kind(broker: str) -> str:
    return "RabbitMQ" if broker.startswith("amqp") else "Redis"


def grounds(which: str) -> list[Ground]:
    named = [os.environ.get(name) or None for name in CHOSEN_BY_US[:2]]
    choices = {"own": [(None, None)], "named": [named], "all": itertools.product(*({None, one} for one in named))}
    return [Ground(*pair) for pair in sorted(choices[which], key=lambda pair: tuple(map(bool, pair)))]


@contextlib.contextmanager
def environment(ground: Ground, folder: Path) -> Iterator[Mapping[str, str]]:
    """What the processes of one measurement are told. A database and a queue of its own are gone afterwards."""
    own = f"breedsite_chaos_{secrets.token_hex(4)}"
    port = free_port()
    values = {name: value for name, value in os.environ.items() if name not in CHOSEN_BY_US} | {
        "DJANGO_SETTINGS_MODULE": "benchmarks.chaos.settings",
        "DATA_DIR": str(folder),
        "TMPDIR": str(folder / "tmp"),
        "PORT": str(port),
        "SITE_URL": f"http://127.0.0.1:{port}",
        "LEASE_SECONDS": os.environ.get("LEASE_SECONDS", "3"),
        "HEARTBEAT_SECONDS": "1",
        "RECONCILE_SECONDS": "1",
    }
    (folder / "tmp").mkdir()
    with contextlib.ExitStack() as stack:
        if ground.database:
            values["DATABASE_URL"] = stack.enter_context(database(ground.database, own))
        if ground.broker:
            values |= {"BROKER_URL": ground.broker, "BROKER_QUEUE": own}
            stack.callback(delete_queue, ground.broker, own)
        yield values


@contextlib.contextmanager
def database(url: str, name: str) -> Iterator[str]:
    import psycopg  # a site on SQLite has no use for it
    from psycopg import sql

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            yield urlsplit(url)._replace(path=f"/{name}").geturl()
        finally:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def delete_queue(broker: str, name: str) -> None:
    from kombu import Connection

    with Connection(broker) as connection:
        connection.default_channel.queue_delete(name)


def measure(name: str, ground: Ground, *, size: int, seed: int, photos: int, keep: Path | None) -> dict[str, Any]:
    """The figures of one part on one ground, from a process of its own."""
    with contextlib.ExitStack() as stack:
        folder = keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="chaos-")))
        folder = folder / f"{name}-{ground}".replace(" ", "-").lower()
        folder.mkdir(parents=True)
        values = stack.enter_context(environment(ground, folder))
        command = [sys.executable, "-m", "benchmarks.chaos.part", name, *map(str, (size, seed, photos, folder))]
        tether = partial(die_with, os.getpid())  # safe: this process has one thread
        done = subprocess.run(command, cwd=ROOT, env=values, stdout=subprocess.PIPE, text=True, preexec_fn=tether)
        if done.returncode:
            raise SystemExit(f"{name} on {ground} could not be measured (exit code {done.returncode}).")
        return dict(json.loads(done.stdout))


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.chaos", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], metavar="part", help=", ".join(PARTS))
    for name, part in PARTS.items():
        parser.add_argument(f"--{name}", type=int, default=part.size, metavar="N", help=f"{part.what} ({part.size})")
    parser.add_argument("--on", choices=("own", "named", "all"), default="all", help="which databases and brokers")
    parser.add_argument("--seed", type=int, default=1, help="of the random moments")
    parser.add_argument("--photos", type=int, default=60, help="of each label: so long are the epochs (60)")
    parser.add_argument("--keep", type=Path, help="a new folder whose contents stay: databases, logs, what was seen")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the folders and databases are removed then too
    figures: dict[str, dict[str, Any]] = {}
    for name in options.parts or [name for name, part in PARTS.items() if part.usual]:
        for ground in grounds(options.on) if PARTS[name].everywhere else [Ground(None, None)]:
            load, began = os.getloadavg()[0], time.monotonic()
            size = getattr(options, name)
            found = measure(name, ground, size=size, seed=options.seed, photos=options.photos, keep=options.keep)
            title = f"{name} on {ground}" if PARTS[name].everywhere else name
            around = {
                "seconds": round(time.monotonic() - began),
                "load": [round(load, 1), round(os.getloadavg()[0], 1)],
            }
            figures[title] = found | around
            print(title, json.dumps(figures[title]), file=sys.stderr)
    print(json.dumps(figures, indent=1))
    broken = [f"{title}: {found['broken']}" for title, found in figures.items() if found.get("broken")]
    if broken:
        sys.exit("What did not hold:\n" + "\n".join(broken))


if __name__ == "__main__":
    main()
