"""Keeping a video encoder from taking the machine.

SVT-AV1, run by root as containers do, puts its threads and the one that called it at the very front of the machine
(real time, first in, first out, 99), and leaves the caller there: whatever that process then starts is there too, and
everything else waits.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

_THREADS = Path("/proc/self/task")


def give_up_real_time() -> int:
    """Put every real-time thread of this process back among the ordinary ones; returns how many there were.

    Where the system has no such priorities, or does not tell of threads, there is nothing to do.
    """
    if not hasattr(os, "sched_setscheduler") or not _THREADS.is_dir():
        return 0
    found = 0
    for thread in map(int, os.listdir(_THREADS)):
        with contextlib.suppress(ProcessLookupError):  # it has just ended
            if os.sched_getscheduler(thread) == os.SCHED_FIFO:
                os.sched_setscheduler(thread, os.SCHED_OTHER, os.sched_param(0))
                found += 1
    return found
