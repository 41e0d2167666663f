"""Giving back files that were locked with ``flock``."""

from __future__ import annotations

import fcntl
import os


def unlock_and_close(descriptor: int) -> None:
    """Give a lock back at once, and close its file.

    Closing alone may leave it for some milliseconds: a process that another thread is just starting has a copy of the
    descriptor until it executes its program, and the lock is both's.

    Args:
        descriptor: of a file opened by this process.
    """
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    os.close(descriptor)
