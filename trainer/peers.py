"""The other processes of a group: started, watched and ended by the first, which is the one that whoever trains here
has started, hears and signals. So its exit code, its end and its log are those of the whole group.

`torchrun` ends with 1 whatever the code of its processes was, leaves them behind when it is killed, and opens two ports
to the network. It may start a group as well, see `company`; here nothing depends on it.
"""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import NoReturn

import torch
from torch import distributed

from classifier.tether import die_with
from trainer.gpu import ready
from trainer.group import ALONE, Group, GroupLost, join, part
from trainer.teller import LEFT

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.2
REASON_SECONDS = 1.0  # within which the one that went first is found among those that lost it
MOURN_SECONDS = 10.0  # for which the first one, when it has lost another, waits to hear how that one ended
FATAL = (signal.SIGKILL, signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE)  # besides SIGABRT


class Peers:
    """Processes 1, 2, ... of a group; this one is the first. At the end of the block they are ended: what they know,
    the first knows too."""

    def __init__(self, command: Sequence[str], file: Path, count: int) -> None:
        """The command with the file of the job and three more words starts each: its number, the size of the group, the
        file where all meet."""
        self.rendezvous = rendezvous = file.with_suffix(".group")
        self.over = threading.Event()
        rendezvous.unlink(missing_ok=True)
        self.processes = [
            subprocess.Popen(
                [*command, str(file), str(rank), str(count + 1), str(rendezvous)],
                stdin=subprocess.DEVNULL,
                preexec_fn=partial(die_with, os.getpid()),
            )
            for rank in range(1, count + 1)
        ]
        self.watcher = threading.Thread(target=self.watch, name="peers", daemon=True)

    def __enter__(self) -> "Peers":
        self.watcher.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, GroupLost):
            self.watcher.join(MOURN_SECONDS)  # it ends this process as the one ended that is lost
        self.over.set()
        self.end()

    def watch(self) -> None:
        """Where one of them ends before its time all end as it did, at once: nobody waits for it in a sum."""
        while not any(process.poll() for process in self.processes):
            if self.over.wait(LOOK_SECONDS):
                return
        until = time.monotonic() + REASON_SECONDS
        while time.monotonic() < until and not any(process.poll() not in (None, 0, LEFT) for process in self.processes):
            if self.over.wait(LOOK_SECONDS):
                return
        codes = [process.poll() or 0 for process in self.processes]
        log.error("The other processes of this training ended with %s: it ends as well.", codes)
        self.end()
        failed = [code for code in codes if code > 0 and code != LEFT]
        killed = [-code for code in codes if code < 0]
        if failed and not killed:
            os._exit(failed[0])
        os.kill(os.getpid(), killed[0] if killed and killed[0] in FATAL else signal.SIGABRT)

    def end(self) -> None:
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.wait()
        self.rendezvous.unlink(missing_ok=True)


def follows(place: Sequence[str]) -> bool:
    """Whether this is not the first process of its group: the first one alone hears signals and tells what happens."""
    return bool(place) or (distributed.is_torchelastic_launched() and os.environ["RANK"] != "0")


def mourn(error: GroupLost, *, leads: bool) -> NoReturn:
    """The end where another process is lost and nobody knows how it ended: as a death, so that all are started again.
    Those that only lost another end with a code that is no reason for anything."""
    log.error("A process of this training is lost: %s", error)
    if leads:
        signal.raise_signal(signal.SIGABRT)
    sys.exit(LEFT)


@contextmanager
def company(
    devices: Sequence[str], place: Sequence[str], *, command: Sequence[str], file: Path
) -> Iterator[tuple[Group, torch.device]]:
    """The group of this process, and its own of the devices. `command` and the file of a job started it, `place` are
    the further words where the first process did; else it is the first itself, one that `torchrun` started, or alone.
    """
    threads = torch.get_num_threads()
    try:
        if place:
            rank, size = int(place[0]), int(place[1])
            device = own(devices[rank], threads // size)
            group = join(rank, size, rendezvous=Path(place[2]))
            yield group, device
            part(group)
        elif distributed.is_torchelastic_launched():
            rank, size, here = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
            device = own(devices[here % len(devices)], threads)
            group = join(rank, size, rendezvous=None)
            yield group, device
            part(group)
        elif len(devices) > 1 and all(str(ready(name)) == name for name in devices):
            with Peers(command, file, len(devices) - 1) as peers:
                device = own(devices[0], threads // len(devices))
                group = join(0, len(devices), rendezvous=peers.rendezvous)
                yield group, device
                part(group)
        else:
            yield ALONE, ready(devices[0])
    finally:
        torch.set_num_threads(threads)


def own(name: str, threads: int) -> torch.device:
    """The device of one process among several, which share the processors."""
    torch.set_num_threads(max(threads, 1))
    device = ready(name)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    return device
