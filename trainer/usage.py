"""What a training process uses of its machine, and of a GPU where it trains on one."""

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
TICKS = os.sysconf("SC_CLK_TCK")  # a second


def usage(device: torch.device) -> dict[str, Any]:
    """Resident memory and the processor time of all threads until now, with those of the processes of a group that this
    one started; on CUDA also what this process holds of its GPU's memory, and the share of the time in which that was
    busy, 0..1, null where its driver's library is away."""
    used: dict[str, Any] = {"memory_bytes": resident_bytes(Path("/proc/self")), "cpu_seconds": time.process_time()}
    for process in started():
        with suppress(OSError):  # it ends just now
            used["memory_bytes"] += resident_bytes(process)
            spent = (process / "stat").read_text().rpartition(")")[2].split()[11:13]  # by itself, and in the kernel
            used["cpu_seconds"] += sum(map(int, spent)) / TICKS
    if device.type == "cuda":
        used |= {"gpu_memory_bytes": torch.cuda.memory_reserved(device), "gpu_share": busy(device)}
    return used


def started() -> list[Path]:
    """The folders of the processes that the main thread has started; none where the kernel does not tell."""
    with suppress(OSError):
        return [Path("/proc", name) for name in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]
    return []


def resident_bytes(process: Path) -> int:
    return int((process / "statm").read_text().split()[1]) * PAGE_BYTES


def busy(device: torch.device) -> float | None:
    """torch asks the driver through `pynvml`, which need not be installed."""
    try:
        return torch.cuda.utilization(device) / 100
    except (ModuleNotFoundError, RuntimeError):
        return None
