"""Workers of scenes, as the machine's process list shows them."""

from __future__ import annotations

import time
from collections.abc import Collection

import psutil

from hitl_ops.worlds.habitat import worker


def scene_workers(of: int | None = None) -> list[psutil.Process]:
    """Those that a process started, at whatever remove; all there are where none is named."""
    found = []
    try:
        candidates = psutil.Process(of).children(recursive=True) if of is not None else list(psutil.process_iter())
    except psutil.NoSuchProcess:
        return []
    for process in candidates:
        try:
            if worker.__file__ in process.cmdline() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def all_end(pids: Collection[int], within_s: float = 20.0) -> bool:
    """Whether none of these processes is left after a while."""
    until = time.monotonic() + within_s
    while left := [pid for pid in pids if psutil.pid_exists(pid) and _lives(pid)]:
        if time.monotonic() > until:
            print("still there:", left)
            return False
        time.sleep(0.05)
    return True


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
