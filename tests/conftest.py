"""Fixtures for all: a model on disk, an installed and active version of it, pictures as bytes."""

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from django.apps import apps
from PIL import Image

from breedsite import rates
from classifier.models import ModelVersion
from tests.artifacts import make_artifact
from tests.live import Wire


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Function) -> Iterator[None]:
    """A test that asked the server in this process ends when that is at rest."""
    try:
        return (yield)
    finally:
        if isinstance(wire := getattr(item, "funcargs", {}).get("wire"), Wire):
            wire.rest()


@pytest.fixture(autouse=True)
def no_watcher(settings) -> Iterator[None]:
    """No thread looks at the database behind a test's back, and no test inherits a loaded network."""
    settings.VERSION_POLL_SECONDS = 0
    yield
    apps.get_app_config("classifier").stop()


@pytest.fixture(autouse=True)
def quick_passwords(settings) -> None:
    """A safe hash takes a quarter of a second, and every signed-in test makes one."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture(autouse=True)
def patient_counts(monkeypatch) -> None:
    """Calls are counted together, however long a busy machine keeps Valkey waiting."""
    monkeypatch.setattr(rates, "TIMEOUT_SECONDS", 30.0)


@pytest.fixture
def versions_dir(settings, tmp_path: Path) -> Path:
    """An empty folder for installed versions."""
    settings.VERSIONS_DIR = tmp_path / "versions"
    return settings.VERSIONS_DIR


@pytest.fixture
def active_version(db, versions_dir: Path, artifact_folder: Path) -> ModelVersion:
    """tiny:1, installed, active and loaded."""
    version = ModelVersion.objects.install(artifact_folder)
    version.activate()
    apps.get_app_config("classifier").start()
    return version


@pytest.fixture(scope="session")
def artifact_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with five labels; read it, never write into it. `tests.artifacts.make_artifact` makes others."""
    return make_artifact(tmp_path_factory.mktemp("artifact") / "tiny")


@pytest.fixture(scope="session")
def make_picture() -> Callable[..., bytes]:
    """make_picture(seed=0, size=(64, 48), format="JPEG") -> the bytes of a smooth random picture."""

    def make(seed: int = 0, size: tuple[int, int] = (64, 48), format: str = "JPEG") -> bytes:
        coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
        out = io.BytesIO()
        Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(out, format)
        return out.getvalue()

    return make


@pytest.fixture(scope="session")
def picture(make_picture: Callable[..., bytes]) -> bytes:
    """A small JPEG."""
    return make_picture()
