"""Threads that make logs durable, so that whoever writes a log never waits for the disk."""

from __future__ import annotations

import heapq
import itertools
import os
import threading
import time
import weakref
from typing import Protocol

FLUSH_SECONDS = 0.25
"""An event that is not urgent is on disk this long after it happened, at most, plus one sync."""


class Flushable(Protocol):
    """Something with unsaved content."""

    def flush(self) -> bool:
        """Make it durable; may wait for the disk, never raises for what the disk does."""


class LogFlusher:
    """A few threads for all logs of a process: file systems answer several syncs in the time of one.

    Args:
        threads: how many syncs run at once.
        seconds: how long what is not urgent may wait.
    """

    def __init__(self, threads: int = 4, seconds: float = FLUSH_SECONDS) -> None:
        self._seconds = seconds
        self._changed = threading.Condition()
        self._queue: list[tuple[float, int, weakref.ref[Flushable]]] = []
        self._count = itertools.count()
        self._open = True
        self._threads = [
            threading.Thread(target=self._work, name=f"log flusher {number}", daemon=True) for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def want(self, log: Flushable, *, urgent: bool) -> None:
        """Have a log flushed: at once, or within the usual time. A flush takes along all that is there by then."""
        due = time.monotonic() + (0.0 if urgent else self._seconds)
        with self._changed:
            heapq.heappush(self._queue, (due, next(self._count), weakref.ref(log)))
            if self._queue[0][0] == due:
                self._changed.notify()

    def close(self) -> None:
        """Stop the threads; what is still queued stays with its owners, who flush when they close."""
        with self._changed:
            self._open = False
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while (log := self._next()) is not None:
            log.flush()

    def _next(self) -> Flushable | None:
        with self._changed:
            while self._open:
                wait = self._queue[0][0] - time.monotonic() if self._queue else None
                if wait is not None and wait <= 0:
                    log = heapq.heappop(self._queue)[2]()
                    if self._queue:
                        # Another thread looks after the next one while this one waits for the disk.
                        self._changed.notify()
                    if log is not None:
                        return log
                    continue
                self._changed.wait(wait)
            return None


_of_process: tuple[int, LogFlusher] | None = None
_making = threading.Lock()


def process_flusher() -> LogFlusher:
    """The flusher all logs of this process share; a forked child gets one of its own."""
    global _of_process
    with _making:
        if _of_process is None or _of_process[0] != os.getpid():
            _of_process = (os.getpid(), LogFlusher())
        return _of_process[1]
