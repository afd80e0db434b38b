"""What the operating system knows about processes."""

import os
import time
from collections.abc import Iterable
from pathlib import Path


def running(process: int) -> bool:
    """Whether it runs; a zombie does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def cpu_seconds(process: int) -> float:
    """The processor time of it and of its children that have ended."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return sum(int(ticks) for ticks in fields[11:15]) / os.sysconf("SC_CLK_TCK")


def gone(processes: Iterable[int], *, within_seconds: float = 10.0) -> bool:
    """Whether all of them end within that time."""
    end = time.monotonic() + within_seconds
    while any(running(process) for process in processes):
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def of_site(data: Path) -> list[int]:
    """The processes of the site on this data folder: started with it in the environment, or holding its lock.

    Valkey overwrites its environment with its title; a process started by a task holds no lock.
    """
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            named = f"DATA_DIR={data}\0".encode() in (folder / "environ").read_bytes()
            holds = any(file.readlink() == data / "launcher.lock" for file in (folder / "fd").iterdir())
        except OSError:  # it ended, or is not ours to read
            continue
        if (named or holds) and running(int(folder.name)):
            found.append(int(folder.name))
    return found
