"""The environment that `make` makes: with real pips on tiny packages made here, and no network."""

import ast
import hashlib
import subprocess
import sys
import zipfile
from base64 import urlsafe_b64encode
from pathlib import Path

import pytest

from breedsite import bootstrap
from breedsite.bootstrap import Failed

pytestmark = pytest.mark.alone

ROOT = Path(bootstrap.__file__).resolve().parent.parent
THIS = sys.version_info[:2]


def make_wheel(folder: Path, version: str) -> None:
    """A package `tiny` whose one module says its version."""
    files = {
        "tiny.py": f"version = {version!r}\n",
        f"tiny-{version}.dist-info/METADATA": f"Metadata-Version: 2.1\nName: tiny\nVersion: {version}\n",
        f"tiny-{version}.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(
        f"{name},sha256={urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b'=').decode()},{len(text)}\n"
        for name, text in files.items()
    )
    name = f"tiny-{version}.dist-info/RECORD"
    with zipfile.ZipFile(folder / f"tiny-{version}-py3-none-any.whl", "w") as wheel:
        for file, text in (files | {name: f"{record}{name},,\n"}).items():
            wheel.writestr(file, text)


def make_uncompilable(folder: Path, name: str, backend: str) -> None:
    """A package whose build asks for a C compiler by a name that does not exist."""
    source = folder / f"{name}-1.0"
    source.mkdir()
    (source / "PKG-INFO").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (source / "pyproject.toml").write_text(
        f"[project]\nname='{name}'\nversion='1.0'\n"
        "[build-system]\nrequires=[]\nbuild-backend='backend'\nbackend-path=['.']\n"
    )
    (source / "backend.py").write_text(backend)
    subprocess.check_call(["tar", "czf", str(folder / f"{name}-1.0.tar.gz"), "-C", str(folder), source.name])


FAILS_LATE = """
import pathlib, subprocess

def prepare_metadata_for_build_wheel(folder, config_settings=None):
    info = pathlib.Path(folder, "needy-1.0.dist-info")
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\\nName: needy\\nVersion: 1.0\\n")
    return info.name

def build_wheel(folder, config_settings=None, metadata_directory=None):
    subprocess.check_call(["no-such-cc", "-c", "needy.c"])
"""
FAILS_AT_ONCE = """
import subprocess

def build_wheel(folder, config_settings=None, metadata_directory=None):
    subprocess.check_call(["no-such-cc", "-c", "eager.c"])
"""


@pytest.fixture
def packages(tmp_path: Path, monkeypatch) -> Path:
    """A folder that pip takes packages from, told by pip's own settings, as a person would."""
    folder = tmp_path / "packages"
    folder.mkdir()
    make_wheel(folder, "1.0")
    make_wheel(folder, "2.0")
    make_uncompilable(folder, "needy", FAILS_LATE)
    make_uncompilable(folder, "eager", FAILS_AT_ONCE)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setattr(bootstrap, "SERVED", (THIS,))  # the suite may be run with a newer Python
    return folder


def test_it_installs_once_and_again_only_when_the_requirements_change(tmp_path, packages, monkeypatch, capfd):
    requirements, more = tmp_path / "requirements.txt", tmp_path / "requirements-dev.txt"
    requirements.write_text("tiny==1.0\n")
    more.write_text("-r requirements.txt\n")
    environment = tmp_path / "a folder" / "venv"

    def version() -> str:
        return subprocess.check_output([python, "-c", "import tiny; print(tiny.version)"], text=True).strip()

    python = bootstrap.environment(environment, more)
    assert python == environment / "bin" / "python"
    assert version() == "1.0"
    assert "Installing" in capfd.readouterr().out

    monkeypatch.setenv("PIP_FIND_LINKS", "/no/such/folder")  # a pip that ran now would fail
    bootstrap.environment(environment, more)
    bootstrap.environment(environment, requirements)  # it came with the other
    assert capfd.readouterr().out == ""

    monkeypatch.setenv("PIP_FIND_LINKS", str(packages))
    requirements.write_text("tiny==2.0\n")
    bootstrap.environment(environment, more)
    assert version() == "2.0"

    for link in ("python", "python3"):  # the Python it was made with is gone, as after an upgrade of the machine
        (environment / "bin" / link).unlink(missing_ok=True)
    bootstrap.environment(environment, requirements)
    assert version() == "2.0"

    for name in ("needy", "eager"):
        requirements.write_text(f"{name}\n")
        with pytest.raises(Failed, match=rf"no ready-made wheel of {name} .* apt-get install build-essential"):
            bootstrap.environment(environment, requirements)
    requirements.write_text("tiny==3.0\n")
    with pytest.raises(Failed, match=r"pip's package index has no tiny==3.0 .* PIP_INDEX_URL"):
        bootstrap.environment(environment, requirements)
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/")
    monkeypatch.setenv("PIP_RETRIES", "1")
    with pytest.raises(Failed, match="pip could not reach its package index: check the network"):
        bootstrap.environment(environment, requirements)


def test_a_full_disk_under_pip_is_told():
    assert "the disk is full" in bootstrap.reason("ERROR: Could not install: [Errno 28] No space left on device\n")


def test_what_pip_says_and_nobody_foresaw_is_left_to_pip():
    assert bootstrap.reason("ERROR: ResolutionImpossible\n") == "pip failed: its own lines above say why."


def test_a_wrong_python_is_told_which_one_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(bootstrap, "version_of", lambda python: (3, 9))
    with pytest.raises(Failed, match=r"Python 3\.11 or 3\.12 is needed .* make run PYTHON="):
        bootstrap.environment(tmp_path / "venv", ROOT / "requirements.txt")


def test_a_fitting_python_beside_a_wrong_one_is_found(tmp_path, monkeypatch):
    versions = {sys.executable: (3, 9), "python3.12": (3, 12)}
    monkeypatch.setattr(bootstrap, "version_of", lambda python: versions.get(python, ()))
    asked = []
    monkeypatch.setattr(
        subprocess, "run", lambda command, **_: asked.append(command[0]) or subprocess.CompletedProcess(command, 0, b"")
    )
    assert bootstrap.make(tmp_path / "venv") == (3, 12)
    assert asked == ["python3.12"]


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        (b"The virtual environment was not created: ensurepip is not available", "apt-get install python3.11-venv"),
        (b"OSError: [Errno 28] No space left on device", "the disk is full"),
        (b"Error: something else", "failed: Error: something else"),
    ],
)
def test_an_environment_that_cannot_be_made_is_told_why(tmp_path, monkeypatch, said, sentence):
    monkeypatch.setattr(bootstrap, "version_of", lambda python: (3, 11))
    monkeypatch.setattr(subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, 1, said))
    with pytest.raises(Failed, match=sentence):
        bootstrap.make(tmp_path / "venv")


def test_a_folder_that_cannot_be_written_is_told_in_one_line(tmp_path):
    (tmp_path / "file").touch()
    done = subprocess.run(
        [sys.executable, "-m", "breedsite.bootstrap", str(tmp_path / "file" / "venv"), "requirements.txt"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith(
        f"breedsite cannot start: {tmp_path / 'file' / 'venv'} cannot be used (Not a directory)"
    )


def test_an_old_python_can_read_it_and_so_say_the_sentence():
    ast.parse(Path(bootstrap.__file__).read_text(), feature_version=(3, 6))


def test_the_pythons_it_takes_are_those_the_project_declares():
    assert 'requires-python = ">=3.11,<3.13"' in (ROOT / "pyproject.toml").read_text()
    assert bootstrap.SERVED == ((3, 11), (3, 12))


def test_chromium_is_installed_by_root_where_there_is_apt_and_none_yet(monkeypatch, capfd):
    ran = []
    monkeypatch.setattr(bootstrap.shutil, "which", lambda name: "/usr/bin/apt-get" if name == "apt-get" else None)
    monkeypatch.setattr(bootstrap.os, "geteuid", lambda: 0)
    monkeypatch.setattr(
        subprocess, "run", lambda command, **_: ran.append(command[2]) or subprocess.CompletedProcess(command, 0)
    )
    bootstrap.install_chromium()
    assert ran == ["update", "install"]
    monkeypatch.setattr(bootstrap.os, "geteuid", lambda: 1000)
    bootstrap.install_chromium()
    assert ran == ["update", "install"]
    monkeypatch.setattr(bootstrap.os, "geteuid", lambda: 0)
    monkeypatch.setattr(subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, 100))
    bootstrap.install_chromium()
    assert "the browser tests will be skipped" in capfd.readouterr().err
