"""Processes that must not outlive the one that started them.

Linux only (`PR_SET_PDEATHSIG`, see prctl(2)); elsewhere a parent that is killed with -9 leaves its children behind.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def die_with(parent: int) -> None:
    """Ask the kernel to kill this process as soon as the process `parent` is gone, however it went.

    To be called by the child, first thing. The kernel watches the parent's thread, not its process: start such
    children from a thread that lives as long as the process does, in practice the main one.
    """
    if LIBC is None:
        return
    if LIBC.prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) was refused")
    if os.getppid() != parent:  # it died before the kernel was asked, and would never be noticed again
        os.kill(os.getpid(), signal.SIGKILL)
