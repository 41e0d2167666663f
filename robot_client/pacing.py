"""When the next tick is due, and how far off the ticks were."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

_KEPT = 60 * 60 * 50


@dataclass(frozen=True)
class Jitter:
    """How late ticks began, milliseconds after they were due.

    Attributes:
        p50: half of them at most.
        p95: nineteen of twenty at most.
        max: all of them.
        ticks: how many there were.
        missed: ticks left out because the one before took too long.
    """

    p50: float = 0.0
    p95: float = 0.0
    max: float = 0.0
    ticks: int = 0
    missed: int = 0

    def __str__(self) -> str:
        return f"p50 {self.p50:.1f}  p95 {self.p95:.1f}  max {self.max:.1f} ms"


class Pace:
    """Real time in ticks of equal length.

    A tick that was late does not move the next ones; whole ticks that were missed are left out and counted.

    Args:
        frequency_hz: ticks a second.
        clock: seconds, monotonic.
        sleep: waits so many seconds.
    """

    def __init__(
        self,
        frequency_hz: float,
        *,
        clock: Callable[[], float] = time.perf_counter,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.period = 1 / frequency_hz
        self.missed = 0
        self._clock = clock
        self._sleep = sleep
        self._due = clock()
        self._late: list[float] = []

    def wait(self) -> None:
        """Return when the next tick is due."""
        remaining = self._due - self._clock()
        if remaining > 0:
            self._sleep(remaining)
        now = self._clock()
        late = max(0.0, now - self._due)
        if len(self._late) < _KEPT:
            self._late.append(late * 1000)
        skipped = int(late / self.period)
        self.missed += skipped
        self._due += (skipped + 1) * self.period

    def jitter(self, last: int | None = None) -> Jitter:
        """How late the ticks were.

        Args:
            last: of so many at the end; of all where None.
        """
        late = self._late if last is None else self._late[-last:]
        if not late:
            return Jitter(missed=self.missed)
        p50, p95 = np.percentile(late, (50, 95))
        return Jitter(float(p50), float(p95), float(max(late)), len(late), self.missed)


class Lockstep:
    """No time at all: the robot's stands still between two commands, so nothing is ever late."""

    missed = 0

    def wait(self) -> None:
        """Return at once."""

    def jitter(self, last: int | None = None) -> Jitter:
        """None."""
        return Jitter()
