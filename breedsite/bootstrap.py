"""Makes the environment that everything runs in: a virtual environment with the pinned requirements.

    python3 -m breedsite.bootstrap FOLDER REQUIREMENTS.txt [--chromium] [-- ARGUMENTS...]

and then becomes that environment's Python with these arguments. It needs nothing but the standard library and runs
under any Python from 3.6 on (hence the annotations in quotes), so that a wrong one is met with a sentence and not with
a traceback. What is installed is remembered as a digest: a second run takes no time. pip is told nothing about where
packages come from; its own settings (the environment's PIP_..., pip.conf) hold.
"""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

SERVED = ((3, 11), (3, 12))  # the pinned requirements have wheels for both
VERSIONS = " or ".join(f"{major}.{minor}" for major, minor in SERVED)
GB_NEEDED = "several GB (2 GB with a CPU build of torch)"
CHROMIUM = ("chromium", "chromium-browser")


class Failed(Exception):
    """The text is a sentence for people that says what to do."""


def main(words: "list[str]") -> None:
    """Make the environment, then become its Python with the arguments behind `--`, if there are any."""
    split = words.index("--") if "--" in words else len(words)
    (folder, requirements, *switches), arguments = words[:split], words[split + 1 :]
    try:
        python = environment(Path.cwd() / folder, Path(requirements))
    except Failed as failure:
        sys.exit(f"breedsite cannot start: {failure}")
    except KeyboardInterrupt:
        sys.exit(130)
    if "--chromium" in switches:
        install_chromium()
    if arguments:
        die_with_make()
        os.execv(python, [str(python), *arguments])  # noqa: S606


def environment(folder: Path, requirements: Path) -> Path:
    """The Python of the virtual environment `folder`, which is made or brought up to date where needed."""
    python = folder / "bin" / "python"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "bootstrap.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # `make run` and `make test` at once: the second waits for the first
            version = version_of(str(python))
            if version not in SERVED:
                version = make(folder)
            if read(stamp(folder, requirements)) != digest(requirements, version):
                install(python, requirements)
                for file in included(requirements):
                    stamp(folder, file).write_text(digest(file, version))
    except OSError as error:
        place = error.filename or folder
        raise Failed(f"{place} cannot be used ({error.strerror}): correct its rights or make room there.") from error
    return python


def version_of(python: str) -> "tuple[int, ...]":
    """(3, 11) for a Python 3.11 that runs, () for a program that is missing or broken."""
    ask = "import sys; print(*sys.version_info[:2])"
    try:
        answer = subprocess.check_output([python, "-c", ask], stderr=subprocess.DEVNULL)
        return tuple(int(part) for part in answer.split())
    except (OSError, ValueError, subprocess.CalledProcessError):
        return ()


def make(folder: Path) -> "tuple[int, ...]":
    """Make the virtual environment anew with the first fitting Python of this machine, and answer its version."""
    names = [sys.executable, *(f"python{major}.{minor}" for major, minor in SERVED)]
    fitting = [(name, version) for name, version in ((name, version_of(name)) for name in names) if version in SERVED]
    if not fitting:
        raise Failed(
            f"Python {VERSIONS} is needed and this is {sys.version_info[0]}.{sys.version_info[1]}: install it "
            "(Debian: apt-get install python3.11 python3.11-venv) or name it: make run PYTHON=/path/to/python3.11"
        )
    name, version = fitting[0]
    done = subprocess.run(
        [name, "-m", "venv", "--clear", str(folder)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    said = done.stdout.decode(errors="replace").strip()
    if done.returncode == 0:
        return version
    if "No space left" in said:
        raise Failed(f"the disk is full: make room for {GB_NEEDED} and start again.")
    if "ensurepip" in said:
        raise Failed(
            "this Python lacks its venv module: install it "
            f"(Debian: apt-get install python{version[0]}.{version[1]}-venv)."
        )
    raise Failed(f"`{name} -m venv {folder}` failed: {(said.splitlines() or ['it gave no reason'])[-1]}")


def included(requirements: Path) -> "list[Path]":
    """The requirements file itself and the files it includes with `-r`, which lie beside it."""
    inner = re.findall(r"^-r\s+(\S+)", requirements.read_text(), re.MULTILINE)
    return [requirements, *(file for name in inner for file in included(requirements.parent / name))]


def digest(requirements: Path, version: "tuple[int, ...]") -> str:
    """What an up-to-date environment is made from: the text of every requirements file, and the Python."""
    text = "".join(file.read_text() for file in included(requirements))
    return hashlib.sha256(f"{version}\n{text}".encode()).hexdigest()


def stamp(folder: Path, requirements: Path) -> Path:
    """The file of the environment that says which state of `requirements` is installed."""
    return folder / f"installed-{requirements.name}"


def read(file: Path) -> str:
    """The text of `file`, empty where there is none."""
    return file.read_text() if file.exists() else ""


def install(python: Path, requirements: Path) -> None:
    """Let pip install; its progress and its complaints go to the terminal, the complaints are also read here."""
    print(f"Installing {requirements}; the first time this takes some minutes.", flush=True)
    said = []
    with subprocess.Popen(
        [str(python), "-m", "pip", "install", "-r", str(requirements)], stderr=subprocess.PIPE
    ) as pip:
        assert pip.stderr is not None
        for line in pip.stderr:
            sys.stderr.buffer.write(line)
            sys.stderr.buffer.flush()
            said.append(line.decode(errors="replace"))
    if pip.returncode != 0:
        raise Failed(reason("".join(said)))


def reason(said: str) -> str:
    """Why pip failed, told from what it said, as a sentence that says what to do."""
    unbuilt = re.search(r"Failed building wheel for ([\w.-]+)|/pip-install-\w+/([\w.-]+?)_[0-9a-f]{32}/", said)
    missing = re.search(r"No matching distribution found for (\S+)", said)
    if "No space left on device" in said:
        return f"the disk is full: make room for {GB_NEEDED} and start again."
    if unbuilt or "subprocess-exited-with-error" in said:
        name = unbuilt.group(1) or unbuilt.group(2) if unbuilt else "a package"
        return (
            f"there is no ready-made wheel of {name} for this machine's Python, "
            "and it could not be compiled: install a compiler (Debian: apt-get install build-essential python3-dev), "
            f"or use CPython {VERSIONS} on 64-bit Linux or macOS, for which there are wheels."
        )
    if re.search(r"new connection|NewConnectionError|name resolution|timed out|ProxyError|SSLError", said):
        return (
            "pip could not reach its package index: check the network, or tell pip where packages are with its own "
            "settings (PIP_INDEX_URL, PIP_FIND_LINKS, PIP_PROXY, PIP_CERT or pip.conf), and start again."
        )
    if missing:
        return (
            f"pip's package index has no {missing.group(1)} for this machine's Python: use CPython {VERSIONS} on "
            "64-bit Linux or macOS, or another index (pip's own setting PIP_INDEX_URL)."
        )
    return "pip failed: its own lines above say why."


def install_chromium() -> None:
    """Debian's Chromium for the browser tests, where this user may install it; else those tests say they skip."""
    if any(shutil.which(name) for name in CHROMIUM) or os.geteuid() != 0 or not shutil.which("apt-get"):
        return
    print("Installing Chromium for the browser tests.", flush=True)
    silent = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    for step in (["update"], ["install", "--yes", "--no-install-recommends", "chromium", "fonts-dejavu-core"]):
        if subprocess.run(["apt-get", "--quiet=2", *step], env=silent, check=False).returncode != 0:
            print("Chromium could not be installed: the browser tests will be skipped.", file=sys.stderr)
            return


def die_with_make() -> None:
    """Under make, be asked to end (SIGTERM) when make is killed: else the site would run on with no one to stop it."""
    if sys.platform == "linux" and "MAKELEVEL" in os.environ:
        import ctypes

        ctypes.CDLL(None).prctl(1, 15, 0, 0, 0)  # PR_SET_PDEATHSIG, SIGTERM: it holds beyond the exec


if __name__ == "__main__":
    main(sys.argv[1:])
