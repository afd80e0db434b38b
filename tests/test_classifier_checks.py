"""What an operator may have set wrongly is said with an id and a hint."""

import shutil

import pytest
from django.core.checks import run_checks

from classifier import devices


def said() -> list[tuple[str, str]]:
    return [(check.id, check.msg) for check in run_checks(databases=["default"]) if check.id.startswith("classifier.")]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MAX_IMAGE_BYTES", 0),
        ("PREDICT_THREADS", 0),
        ("PREDICT_QUEUE", 0),
        ("PREDICT_WAIT_SECONDS", 0.0),
        ("VERSION_POLL_SECONDS", -1.0),
    ],
)
def test_a_number_that_makes_no_sense_is_an_error(db, settings, name, value):
    setattr(settings, name, value)
    ((number, message),) = said()
    assert number == "classifier.E001"
    assert message.startswith(f"{name} is {value}")


def test_more_threads_than_cores_is_a_warning(db, settings):
    settings.PREDICT_THREADS = settings.CORES + 1
    ((number, message),) = said()
    assert number == "classifier.W001" and f"may use {settings.CORES} cores" in message


@pytest.mark.parametrize(
    ("device", "driver", "warned"), [("cuda", False, True), ("cuda:1", True, False), ("cpu", False, False)]
)
def test_a_gpu_for_web_requests_without_a_driver_is_a_warning(
    db, settings, monkeypatch, tmp_path, device, driver, warned
):
    monkeypatch.setattr(devices, "DRIVERS", (tmp_path,) if driver else (tmp_path / "driver",))
    settings.PREDICT_DEVICE = device
    assert [number for number, _ in said()] == ["classifier.W003"] * warned


def test_an_active_version_that_is_not_on_disk_is_a_warning(active_version):
    assert said() == []
    shutil.rmtree(active_version.path)
    ((number, message),) = said()
    assert number == "classifier.W002"
    assert "tiny:1" in message and active_version.folder in message


def test_a_database_without_tables_is_no_matter_of_this_check(db, monkeypatch):
    from django.db import OperationalError

    from classifier.models import ModelVersion

    def no_table(*args, **kwargs):
        raise OperationalError("no such table")

    monkeypatch.setattr(ModelVersion.objects.all().__class__, "active", no_table)
    assert said() == []
