"""What an environment's values become, the empty and the odd ones included."""

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from breedsite import settings
from breedsite.environment import Environment
from classifier.gate import OTHER_BODY_BYTES
from tests.test_settings import variables


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """read(NAME="value", ...) -> the settings where nothing else is set but the data folder."""

    def read(**environment: str) -> dict[str, Any]:
        for name in variables():
            monkeypatch.delenv(name, raising=False)
        for name, value in ({"DATA_DIR": str(tmp_path)} | environment).items():
            monkeypatch.setenv(name, value)
        found = runpy.run_path(settings.__file__)
        return {name: value for name, value in found.items() if name.isupper()}

    return read


def test_an_empty_variable_is_one_that_is_not_set(read):
    without_limit = {"PREDICT_RATE", "LOGIN_RATE", "KEY_RATE"}
    empty = dict.fromkeys(variables() - without_limit - {"DATA_DIR"}, " ")
    assert read(**empty) == read()


def test_an_empty_data_folder_is_the_usual_one(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DATA_DIR", "")
    assert Environment().str("DATA_DIR", default="/usual") == "/usual"


@pytest.mark.parametrize("name", ["PREDICT_RATE", "LOGIN_RATE"])
def test_an_empty_rate_is_no_limit(read, name: str):
    assert read()[name] is not None and read(**{name: ""})[name] is None


def test_a_value_is_taken_as_it_is_written(read):
    written = read(SECRET_KEY="$PATH-and more", ALLOWED_HOSTS="a.example, b.example,", ALLOW_ANONYMOUS_PREDICT="Off")
    assert written["SECRET_KEY"] == "$PATH-and more"
    assert written["ALLOWED_HOSTS"] == ["a.example", "b.example"]
    assert written["ALLOW_ANONYMOUS_PREDICT"] is False


def test_small_photos_leave_other_forms_their_room(read):
    small, large = read(MAX_IMAGE_BYTES="1048576"), read(MAX_IMAGE_BYTES="20971520")
    assert small["PREDICT_BODY_BYTES"] == 1048576 * 3 // 2 and small["DATA_UPLOAD_MAX_MEMORY_SIZE"] == OTHER_BODY_BYTES
    assert large["PREDICT_BODY_BYTES"] == large["DATA_UPLOAD_MAX_MEMORY_SIZE"] == 20971520 * 3 // 2


def test_a_data_folder_may_have_any_name(read, tmp_path: Path):
    folder = tmp_path / "1+1 is 2? 100 % #ä"
    assert read(DATA_DIR=str(folder))["DATABASES"]["default"]["NAME"] == str(folder / "breedsite.sqlite3")
