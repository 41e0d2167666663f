from __future__ import annotations

import pytest

from robot_client.pacing import Pace


class Clock:
    """Time that passes only by sleeping, and by what the test says the work took."""

    def __init__(self) -> None:
        self.now = 100.0
        self.oversleep = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds + self.oversleep


def test_late_ticks_do_not_move_the_next_and_are_measured() -> None:
    clock = Clock()
    pace = Pace(50, clock=clock, sleep=clock.sleep)
    begins = []
    for oversleep in (0.0, 0.0, 0.004, 0.0, 0.0):
        clock.oversleep = oversleep
        pace.wait()
        begins.append(round(clock.now - 100, 6))
        clock.now += 0.005  # the work
    assert begins == [0.0, 0.02, 0.044, 0.06, 0.08]
    jitter = pace.jitter()
    assert jitter.ticks == 5
    assert jitter.max == pytest.approx(4.0)
    assert jitter.p50 == pytest.approx(0.0, abs=1e-6)
    assert jitter.missed == 0


def test_ticks_that_were_missed_are_left_out_and_counted() -> None:
    clock = Clock()
    pace = Pace(50, clock=clock, sleep=clock.sleep)
    pace.wait()
    clock.now += 0.07  # due at 0.02, 0.04 and 0.06 meanwhile
    pace.wait()
    assert pace.missed == 2
    pace.wait()
    assert clock.now == pytest.approx(100.08)
    assert pace.jitter().max == pytest.approx(50.0)
