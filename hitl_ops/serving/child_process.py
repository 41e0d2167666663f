"""A child process that never outlives its parent, however the parent ends."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


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
