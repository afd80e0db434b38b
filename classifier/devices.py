"""Where networks may work: on the processor, or on CUDA devices. Who asks here need not have torch loaded."""

import functools
import logging
import subprocess
import sys
from pathlib import Path

log = logging.getLogger(__name__)

DRIVERS = (Path("/dev/nvidiactl"), Path("/dev/dxg"), Path("/dev/kfd"))  # NVIDIA's, that of Windows' Linux, AMD's
MOST = 16  # devices that do one piece of work
ASK = "import torch; print(torch.cuda.device_count())"
ASK_SECONDS = 120.0


def places(setting: str) -> tuple[str, ...]:
    """torch's names of the devices on which work is done here, one piece on each: auto is every CUDA device, or the
    processor where there is none. A device that is asked for and missing is replaced by the processor, with a warning.
    """
    if setting == "cpu":
        return ("cpu",)
    found = tuple(f"cuda:{number}" for number in range(cuda_devices()))
    if setting in found:
        return (setting,)
    if found and setting in ("auto", "cuda"):
        return found
    if setting != "auto":
        log.warning("There is no device %s (torch finds %d CUDA devices): the processor is used.", setting, len(found))
    return ("cpu",)


def has_driver() -> bool:
    """Whether there may be a GPU, as far as can be seen in a moment."""
    return any(driver.exists() for driver in DRIVERS)


def grouped(found: tuple[str, ...], number: str) -> list[tuple[str, ...]]:
    """Devices by so many, or `all`, of which each group does one piece of work; the last may be smaller, for no device
    is to stand idle. A processor is so many times in its one group as there shall be processes on it."""
    size = min(len(found), MOST) if number == "all" else int(number)
    if found == ("cpu",):
        return [found * size]
    if size > len(found) > 1:
        log.warning("%d devices shall work together, and there are %d: those are used.", size, len(found))
    return [found[start : start + size] for start in range(0, len(found), size)]


@functools.cache
def cuda_devices() -> int:
    """How many CUDA devices torch can use. It is asked in a process of its own, once, and only where a driver is."""
    if not has_driver():
        return 0
    try:
        done = subprocess.run(
            [sys.executable, "-c", ASK], capture_output=True, text=True, timeout=ASK_SECONDS, check=True
        )
        return int(done.stdout)
    except (subprocess.SubprocessError, ValueError) as error:
        log.warning("Whether torch can use a GPU could not be found out, so none is used: %s", error)
        return 0
