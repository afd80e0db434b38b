"""What the environment may say, and what the README says about it."""

import ast
import errno
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from breedsite import settings

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"


def section(title: str) -> str:
    """The text of the README under `## title`."""
    found = re.search(rf"^## {title}$(.*?)(?=^## |\Z)", README.read_text(), re.MULTILINE | re.DOTALL)
    assert found, f"README.md has no section '## {title}'"
    return found[1]


def variables() -> set[str]:
    """Every variable that breedsite/settings.py reads: `env.kind("NAME", ...)`, or a helper called with one."""
    calls = [
        node
        for node in ast.walk(ast.parse((ROOT / "breedsite" / "settings.py").read_text()))
        if isinstance(node, ast.Call)
    ]
    first = [call.args[0] for call in calls if call.args and re.fullmatch(r"env\.\w+|rate", ast.unparse(call.func))]
    return {argument.value for argument in first if isinstance(argument, ast.Constant)}


def test_settings_are_read_from_the_environment_under_these_names():
    assert {"DATA_DIR", "PORT", "SITE_URL", "DATABASE_URL", "PREDICT_RATE", "BROKER_QUEUE"} <= variables()


def test_the_readme_lists_every_setting_and_no_other():
    # DEBUG is read to be refused.
    assert set(re.findall(r"^\| `([A-Z_]+)`", section("Settings"), re.MULTILINE)) == variables() - {"DEBUG"}


def test_the_readme_draws_the_folders_that_exist():
    drawn = set(re.findall(r"^[│├└─\s]*([\w.]+)/", section("How it is laid out"), re.MULTILINE))
    tracked = subprocess.check_output(["git", "ls-files"], cwd=ROOT, text=True).split("\n")
    folders = {path.split("/")[0] for path in tracked if "/" in path and not path.startswith(".")}
    assert folders <= drawn
    missing = [name for name in drawn if not any(f"/{name}/" in f"/{path}" for path in tracked)]
    assert missing == []


def drawn_files() -> Iterator[str]:
    """What README draws within a folder: files, and folders with their slash."""
    above = ""
    for line in section("How it is laid out").split("```")[1].strip().splitlines():
        names = re.split(r"\s{2,}", line.strip())[0].split()
        if line.startswith(" "):
            yield from (above + name for name in names)
        else:
            [above] = names


def test_the_readme_draws_files_that_exist():
    drawn = list(drawn_files())
    assert {"classifier/guard.py", "classifier/engines/"} <= set(drawn)
    there = {path for path in drawn if (ROOT / path).exists() and (ROOT / path).is_dir() == path.endswith("/")}
    assert set(drawn) - there == set()


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("PORT", "eighty", "PORT is set to 'eighty': write a whole number, zero or more."),
        ("PORT", "-1", "PORT is set to '-1': write a whole number, zero or more."),
        ("PREDICT_WAIT_SECONDS", "soon", "PREDICT_WAIT_SECONDS is set to 'soon': write a number, zero or more."),
        ("PREDICT_WAIT_SECONDS", "2 s", "PREDICT_WAIT_SECONDS is set to '2 s': write a number, zero or more."),
        ("PREDICT_WAIT_SECONDS", "nan", "PREDICT_WAIT_SECONDS is set to 'nan': write a number, zero or more."),
        ("ALLOW_ANONYMOUS_PREDICT", "maybe", "ALLOW_ANONYMOUS_PREDICT is set to 'maybe': write true or false."),
        ("TORCH_DEVICE", "gpu", "TORCH_DEVICE is set to 'gpu': write auto, cpu, cuda or one such as cuda:0."),
        ("PREDICT_DEVICE", "cpu:1", "PREDICT_DEVICE is set to 'cpu:1': write cpu, cuda or one such as cuda:0."),
        ("DEVICES_PER_RUN", "0", "DEVICES_PER_RUN is set to '0': write a number from 1 to 16, or all."),
        ("DATABASE_URL", "nonsense", "DATABASE_URL is not the address of a database"),
        ("DATABASE_URL", "postgres://h:port/db", "DATABASE_URL is not the address of a database"),
        ("DATABASE_URL", "mysql://me:s3cret@host/db", "DATABASE_URL is not the address of a database"),
        ("CACHE_URL", "s3cret", "CACHE_URL is not the address of a server: begin it with redis or rediss or unix://."),
        ("CACHE_URL", "redis://:s3cret@host:port/1", "CACHE_URL is not the address of a server"),
        ("BROKER_URL", "kafka://me:s3cret@host", "BROKER_URL is not the address of a server: begin it with redis or"),
    ],
)
@pytest.mark.parametrize("command", [("manage.py", "up"), ("-m", "breedsite.up"), ("-m", "breedsite.server")])
def test_a_wrong_value_stops_the_start_with_one_line_that_names_it(tmp_path, command, name, value, sentence):
    done = subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env=os.environ | {"DATA_DIR": str(tmp_path), name: value},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert re.match("breedsite cannot (start|run): ", done.stderr)
    assert sentence in done.stderr and "s3cret" not in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.fixture
def new_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A data folder without a key."""
    monkeypatch.setattr(settings, "DATA_DIR", tmp_path / "var")
    return tmp_path / "var"


def test_all_who_start_at_once_on_a_new_folder_have_one_key(new_folder: Path):
    start = threading.Barrier(8)

    def key(_: int) -> str:
        start.wait(20)
        return settings.secret_key()

    with ThreadPoolExecutor(8) as pool:
        [found] = set(pool.map(key, range(8)))
    assert len(found) == 64 and [file.name for file in new_folder.iterdir()] == ["secret_key"]


def test_a_full_disk_leaves_no_empty_key_behind(new_folder: Path, monkeypatch: pytest.MonkeyPatch):
    def full(length: int) -> str:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(ImproperlyConfigured, match="No space left on device"):
        patch.setattr(settings, "get_random_string", full)
        settings.secret_key()
    assert list(new_folder.iterdir()) == []
    assert len(settings.secret_key()) == 64


def test_a_path_too_long_for_a_socket_gets_a_private_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(settings, "DATA_DIR", tmp_path / ("long" * 30))
    monkeypatch.setattr(settings.tempfile, "gettempdir", lambda: str(tmp_path))
    socket = settings.socket_path("valkey.sock")
    assert socket.parent.parent == tmp_path and socket.parent.stat().st_mode & 0o777 == 0o700
    assert settings.socket_path("valkey.sock") == socket
    socket.parent.chmod(0o777)  # as somebody else might have left it
    with pytest.raises(ImproperlyConfigured, match="set DATA_DIR to a shorter path"):
        settings.socket_path("valkey.sock")
