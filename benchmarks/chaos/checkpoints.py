"""A process is killed while it writes one checkpoint after the other, and the newest is damaged afterwards. What was
said to be written can always be read back, and of a damaged one the one before it.
"""

import itertools
import os
import shutil
import signal
import time
from pathlib import Path
from random import Random
from typing import Any, NoReturn

import torch

from benchmarks.chaos.part import Options, say
from trainer import checkpoint

MEGABYTES = 4
DAMAGES = ("flipped", "cut", "empty", "gone")


def measure(options: Options) -> dict[str, Any]:
    torch.set_num_threads(1)
    draw, broken, found = options.random(), [], {"kills": 0, "in_the_middle_of_a_write": 0, "damages": 0}
    for _ in range(options.size):
        shutil.rmtree(folder := options.folder / "work", ignore_errors=True)
        folder.mkdir()
        told = killed(folder, draw)
        found["kills"] += 1
        found["in_the_middle_of_a_write"] += bool(list(folder.glob(".*.part")))
        state = checkpoint.latest(folder)
        if state is None or state["steps"] < told:
            broken.append(f"checkpoint {told} was told, {state and state['steps']} is there")
            continue
        last = state["steps"]
        checkpoint.save(folder, tensors(last + 1), epoch=last + 1)
        if rests := list(folder.glob(".*.part")):
            broken.append(f"{len(rests)} unfinished files stay for ever")
        damage(folder, draw.choice(DAMAGES), draw)
        found["damages"] += 1
        state = checkpoint.latest(folder)
        if state is None or state["steps"] != last:
            broken.append(f"the newest was damaged, and {state and state['steps']} came back, not {last}")
    say(f"{found}")
    return found | {"good_copy_lost": len(broken), "broken": broken}


def killed(folder: Path, draw: Random) -> int:
    """Let a process write until it is killed; the last checkpoint that it said was written."""
    ours, theirs = os.pipe()
    pid = os.fork()  # torch is loaded and has one thread here: a new interpreter would take seconds
    if pid == 0:
        write(folder, theirs)
    os.close(theirs)
    with os.fdopen(ours) as told:
        for _ in range(draw.randrange(1, 5)):
            first = told.readline()
        time.sleep(draw.uniform(0.0, 0.1))
        os.kill(pid, signal.SIGKILL)
        *whole, _cut = (first + told.read()).split("\n")
    os.waitpid(pid, 0)
    return int(whole[-1])


def write(folder: Path, told: int) -> NoReturn:
    """What the process does that is killed."""
    try:
        for number in itertools.count(1):
            checkpoint.save(folder, tensors(number, MEGABYTES), epoch=number)
            os.write(told, b"%d\n" % number)
    finally:
        os._exit(1)


def tensors(number: int, megabytes: int = 1) -> dict[str, Any]:
    return {"net": {"weight": torch.full((megabytes, 2**18), float(number))}, "steps": number}


def damage(folder: Path, how: str, draw: Random) -> None:
    file = max(folder.glob("*.checkpoint"))
    data = bytearray(file.read_bytes())
    data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    if how == "gone":
        file.unlink()
    else:
        file.write_bytes({"flipped": bytes(data), "cut": bytes(data[: draw.randrange(len(data))]), "empty": b""}[how])
