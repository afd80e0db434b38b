"""What a training process uses of its machine, and of a GPU where it trains on one."""

import os
import time
from pathlib import Path
from typing import Any

import torch

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def usage(device: torch.device) -> dict[str, Any]:
    """Resident memory and the processor time of all threads until now; on CUDA also what this process holds of the
    GPU's memory, and the share of the time in which the GPU was busy, 0..1, null where its driver's library is away."""
    used: dict[str, Any] = {
        "memory_bytes": int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES,
        "cpu_seconds": time.process_time(),
    }
    if device.type == "cuda":
        used |= {"gpu_memory_bytes": torch.cuda.memory_reserved(device), "gpu_share": busy(device)}
    return used


def busy(device: torch.device) -> float | None:
    """torch asks the driver through `pynvml`, which need not be installed."""
    try:
        return torch.cuda.utilization(device) / 100
    except (ModuleNotFoundError, RuntimeError):
        return None
