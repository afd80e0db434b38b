"""What an operator may have set wrongly, said by `manage.py check` and before every start."""

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.db import Error as DatabaseError

from breedsite.storage import store
from classifier.devices import has_driver

LEAST = {  # setting -> the least value that makes sense
    "MAX_IMAGE_BYTES": 1,
    "WEB_PROCESSES": 1,
    "PREDICT_THREADS": 1,
    "PREDICT_QUEUE": 1,
    "PREDICT_WAIT_SECONDS": 0.01,
    "VERSION_POLL_SECONDS": 0,
}


@register
def settings_are_sensible(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    return [
        Error(
            f"{name} is {getattr(settings, name)}, it must be at least {least}.",
            hint=f"Set {name} to a larger number or leave it unset.",
            id="classifier.E001",
        )
        for name, least in LEAST.items()
        if getattr(settings, name) < least
    ]


@register
def threads_fit_the_cores(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    if settings.PREDICT_THREADS <= settings.CORES:
        return []
    return [
        Warning(
            f"PREDICT_THREADS is {settings.PREDICT_THREADS}, but this process may use {settings.CORES} cores.",
            hint="More threads than cores make every answer slower. Leave PREDICT_THREADS unset to use all cores.",
            id="classifier.W001",
        )
    ]


@register
def the_gpu_of_web_requests_is_here(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    if not settings.PREDICT_DEVICE.startswith("cuda") or has_driver():
        return []
    return [
        Warning(
            f"PREDICT_DEVICE is {settings.PREDICT_DEVICE}, but this machine has no driver of a GPU: the processor "
            "answers in its place.",
            hint="Install NVIDIA's driver, or leave PREDICT_DEVICE unset.",
            id="classifier.W003",
        )
    ]


@register(Tags.database)
def active_version_is_on_disk(
    app_configs: Sequence[AppConfig] | None, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    from classifier.models import ModelVersion

    if "default" not in (databases or ()):
        return []
    try:
        version = ModelVersion.objects.defer("spec").active()
    except DatabaseError:
        return []  # before the first migration there is no table, and the database has its own checks
    if version is None or store().on or (version.path / "spec.json").is_file():  # it may lie in the storage
        return []
    return [
        Warning(
            f"The active version {version} is not in VERSIONS_DIR: {version.folder} is missing.",
            hint="Restore the folder, or activate another version: manage.py activateversion NAME:NUMBER.",
            id="classifier.W002",
        )
    ]
