"""What a child process sees to itself: that it never outlives its parent, and how much memory it holds."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
from pathlib import Path

ENDS_WITH = "FLYWHEEL_ENDS_WITH"
"""Environment variable: process id of whoever started this process, and without whom it shall not live on."""
_PR_SET_PDEATHSIG = 1


def end_with_starter() -> None:
    """Have this process end with the one that started it, where that says so; its own children start without that."""
    starter = os.environ.pop(ENDS_WITH, "")
    if starter.isdecimal():
        end_with_parent(int(starter))


def end_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent ends, by SIGKILL too; Linux only, elsewhere nothing happens.

    The signal comes when the parent's *thread* that started this process ends, so start children from a thread that
    lasts.

    Args:
        parent: the parent's process id, as the parent knows it; if it has ended already, so does this process.
    """
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(0)


def resident_mb() -> float:
    """Memory this process holds now, MB; at its largest where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * resource.getpagesize() / 2**20
    except (OSError, ValueError, IndexError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
