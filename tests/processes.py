"""What the operating system knows about processes."""

import os
import signal
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

EXITING = 0x4  # the kernel's PF_EXITING


def running(process: int) -> bool:
    """Whether it runs; a zombie does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def acts(process: int) -> bool:
    """Whether it may do anything yet. One of the lowest priority that was killed needs a processor to end, which it may
    wait seconds for; it does nothing more until then."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
        flags = int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[6])
    except (FileNotFoundError, ProcessLookupError):
        return False
    return running(process) and not doomed(status) and not flags & EXITING


def doomed(status: str) -> bool:
    """Whether SIGKILL waits for a process, of which the kernel tells `status`."""
    waiting = (line.split()[1] for line in status.splitlines() if line.startswith(("SigPnd:", "ShdPnd:")))
    return any(int(signals, 16) >> (signal.SIGKILL - 1) & 1 for signals in waiting)


def parent_of(process: int) -> int:
    """Raises OSError for one that has ended."""
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


def children(process: int, mark: str = "") -> list[int]:
    """The processes that it started and that still run, of those with the mark in their command line."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended
            known = parent_of(int(folder.name)) == process and mark.encode() in (folder / "cmdline").read_bytes()
            if known and running(int(folder.name)):
                found.append(int(folder.name))
    return found


def cpu_seconds(process: int) -> float:
    """The processor time of it and of its children that have ended; 0 where it has ended itself."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return sum(int(ticks) for ticks in fields[11:15]) / os.sysconf("SC_CLK_TCK")


def queued_seconds(process: int) -> float:
    """For how long its threads were ready to run while others had the processors; 0 where the kernel does not tell."""
    total = 0
    with suppress(OSError):
        for thread in Path(f"/proc/{process}/task").iterdir():
            with suppress(OSError):  # it has ended
                total += int((thread / "schedstat").read_text().split()[1])
    return total / 1e9


class FairClock:
    """Seconds since it was made, without those for which these processes had to wait for a processor.

    So a busy machine makes nobody late. It is read again and again, for who has ended tells nothing more.
    """

    def __init__(self, processes: Iterable[int]) -> None:
        self.began = time.monotonic()
        self.before = {process: queued_seconds(process) for process in processes}
        self.now = dict(self.before)

    def seconds(self) -> float:
        for process, queued in self.now.items():
            self.now[process] = max(queued, queued_seconds(process))
        return time.monotonic() - self.began - sum(self.now.values()) + sum(self.before.values())

    def until(self, over: Callable[[], bool], *, longest_seconds: float = 60.0) -> float:
        """Its seconds, once that is over."""
        end = time.monotonic() + longest_seconds
        while not over():
            assert time.monotonic() < end, "it does not end"
            self.seconds()
            time.sleep(0.02)
        return self.seconds()


def gone(processes: Iterable[int], *, within_seconds: float = 10.0) -> bool:
    """Whether all of them end within that time."""
    end = time.monotonic() + within_seconds
    while any(running(process) for process in processes):
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def open_files(process: int) -> list[Path]:
    """What its file descriptors lead to, but for those that it closes meanwhile."""
    found = []
    for file in Path(f"/proc/{process}/fd").iterdir():
        with suppress(FileNotFoundError):
            found.append(file.readlink())
    return found


def of_site(data: Path) -> list[int]:
    """The processes of the site on this data folder: started with it in the environment, or holding its lock.

    Valkey overwrites its environment with its title; a process started by a task holds no lock.
    """
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        process = int(folder.name)
        with suppress(OSError):  # it ended, or is not ours to read
            named = f"DATA_DIR={data}\0".encode() in (folder / "environ").read_bytes()
            if (named or data / "launcher.lock" in open_files(process)) and running(process):
                found.append(process)
    return found
