"""What an operator may have chosen unwisely for the site, said by `manage.py check` and before every start."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register

from breedsite.profile import is_loopback

MIN_TOKEN_LENGTH = 20  # characters
NETWORK = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "ceph", "glusterfs", "fuse.sshfs", "fuse.glusterfs", "afs"}


@register
def the_worker_has_a_process(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    if settings.WORKER_SLOTS >= 1:
        return []
    return [
        Error(
            "WORKER_SLOTS is 0, and Celery takes that for one process on each core.",
            hint="Set WORKER_SLOTS to at least 1 or leave it unset.",
            id="breedsite.E001",
        )
    ]


@register
def processes_of_a_training_have_a_core_each(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    number = settings.DEVICES_PER_RUN
    if settings.TORCH_DEVICE != "cpu" or number == "all" or int(number) <= settings.CORES:
        return []
    return [
        Warning(
            f"DEVICES_PER_RUN is {number}: so many processes of a training share the {settings.CORES} cores of this "
            "machine, each with all photos in its memory.",
            hint="Leave DEVICES_PER_RUN unset where trainings run on the processor: one process uses all cores.",
            id="breedsite.W004",
        )
    ]


@register
def the_token_of_the_metrics_is_not_guessed(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    if not settings.METRICS_TOKEN or len(settings.METRICS_TOKEN) >= MIN_TOKEN_LENGTH:
        return []
    return [
        Error(
            f"METRICS_TOKEN has {len(settings.METRICS_TOKEN)} characters, which can be guessed.",
            hint=f"Take at least {MIN_TOKEN_LENGTH} random characters, or leave it unset.",
            id="breedsite.E002",
        )
    ]


@register
def sqlite_lies_on_a_disk_of_this_machine(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    database = settings.DATABASES["default"]
    if database["ENGINE"] != "breedsite.sqlite":
        return []
    kind = file_system(Path(database["NAME"]), mounts())
    if kind not in NETWORK:
        return []
    return [
        Warning(
            f"The SQLite database lies on a network file system ({kind}), whose locks do not hold.",
            hint="Set DATA_DIR to a local disk, or DATABASE_URL to a PostgreSQL server.",
            id="breedsite.W001",
        )
    ]


@register
def plain_http_stays_on_this_machine(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    if settings.PRODUCTION or is_loopback(settings.HOST):
        return []
    return [
        Warning(
            f"HOST is {settings.HOST}, so the network reaches this server, and over plain http: passwords and photos "
            "can be read on the way.",
            hint="Leave HOST unset, or put a proxy that speaks TLS before this server and set SITE_URL to its address.",
            id="breedsite.W002",
        )
    ]


@register
def hosts_that_share_a_storage_share_their_key(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    if not settings.STORAGE_URL or not settings.SECRET_KEY_IS_OURS:
        return []
    return [
        Warning(
            "STORAGE_URL is set and SECRET_KEY is not: each host makes a key of its own, and whoever signs in at one "
            "web server is a stranger to the next.",
            hint="Set SECRET_KEY to the same 50 random characters or more on every host.",
            id="breedsite.W003",
        )
    ]


def mounts() -> str:
    """/proc/mounts; empty where the system has none."""
    try:
        return Path("/proc/mounts").read_text()
    except OSError:
        return ""


def file_system(path: Path, mounts: str) -> str:
    """The kind of the file system that holds `path`: that of the longest mount point above it; "" if unknown."""
    found = {}
    for line in mounts.splitlines():
        _, point, kind, *_ = line.split()
        found[Path(point.replace("\\040", " "))] = kind
    return next((found[above] for above in (path, *path.parents) if above in found), "")
