"""When ticks are due: thirty a second by the monotonic clock, however long each takes."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from hitl_ops.worlds.household.tools import STEPS_PER_SECOND

PERIOD_S = 1.0 / STEPS_PER_SECOND
MOST_AT_ONCE = 5
"""Ticks caught up at most; beyond that, time is given up: a world that jumps is worse than one that lags."""


class TickSchedule:
    """Waits for the next tick and counts how late it was.

    Args:
        clock: seconds that never go back.
        sleep: waits some seconds.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._next = clock() + PERIOD_S
        self.slipped = 0
        """Ticks given up so far."""
        self.late_ms: deque[float] = deque(maxlen=10 * STEPS_PER_SECOND)
        """How late the last ticks began, milliseconds."""

    def left(self) -> float:
        """Seconds until the next tick; negative when it is late."""
        return self._next - self._clock()

    def wait(self) -> int:
        """Wait until a tick is due; returns how many are."""
        while (left := self.left()) > 0:
            self._sleep(left)
        due = 1 + int(-left / PERIOD_S)
        self.late_ms.append(-left * 1000)
        self._next += due * PERIOD_S
        if due > MOST_AT_ONCE:
            self.slipped += due - MOST_AT_ONCE
            due = MOST_AT_ONCE
        return due
