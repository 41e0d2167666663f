"""How many requests may be under way at once, over all threads and processes that share a folder."""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from hitl_ops.contracts.file_lock import unlock_and_close
from hitl_ops.contracts.publish import disk_errors_named

# A request takes a hundred milliseconds at the least; looking this often costs next to nothing beside it.
LOOK_EVERY_S = 0.02


class RequestSlots:
    """A counting semaphore made of lock files: a killed process gives its slots back by itself.

    Args:
        folder: where the lock files lie; all who share it share the bound.
        size: how many may hold a slot at once.
    """

    def __init__(self, folder: Path, size: int) -> None:
        self._folder = folder
        self._size = size
        # Threads of one process queue here first, so that only as many as can be served look at the lock files.
        self._queue = threading.BoundedSemaphore(size)

    @contextlib.contextmanager
    def one(self) -> Iterator[None]:
        """Hold one slot, waiting until one is free.

        Raises:
            UserError: the folder cannot be written.
        """
        with self._queue:
            descriptor = self._acquire()
            try:
                yield
            finally:
                unlock_and_close(descriptor)

    def _acquire(self) -> int:
        with disk_errors_named(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            while True:
                for number in random.sample(range(self._size), self._size):
                    descriptor = os.open(
                        self._folder / f"slot-{number:03d}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644
                    )
                    try:
                        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    except BlockingIOError:
                        os.close(descriptor)
                    except BaseException:
                        os.close(descriptor)
                        raise
                    else:
                        return descriptor
                time.sleep(LOOK_EVERY_S)
