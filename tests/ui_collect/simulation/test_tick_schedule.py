"""Thirty ticks a second by the clock, whatever a tick costs."""

from __future__ import annotations

import pytest

from ui_collect.simulation.tick_schedule import MOST_AT_ONCE, PERIOD_S, TickSchedule


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_it_never_drifts(clock: Clock) -> None:
    schedule = TickSchedule(clock, clock.sleep)
    ticks = 0
    for cost in [0.001, 0.03, 0.0, 0.02] * 225:
        ticks += schedule.wait()
        clock.now += cost
    assert ticks == 900
    assert clock.now == pytest.approx(100 + 900 * PERIOD_S, abs=PERIOD_S)
    assert schedule.slipped == 0


def test_it_catches_up_what_it_missed(clock: Clock) -> None:
    schedule = TickSchedule(clock, clock.sleep)
    schedule.wait()
    clock.now += 3.5 * PERIOD_S
    assert schedule.wait() == 3
    assert schedule.late_ms[-1] == pytest.approx(2.5 * PERIOD_S * 1000)
    assert schedule.wait() == 1
    assert schedule.late_ms[-1] == pytest.approx(0, abs=1e-6)


def test_it_gives_up_time_rather_than_jump(clock: Clock) -> None:
    schedule = TickSchedule(clock, clock.sleep)
    schedule.wait()
    clock.now += 60.01 * PERIOD_S
    assert schedule.wait() == MOST_AT_ONCE
    assert schedule.slipped == 60 - MOST_AT_ONCE
    assert schedule.wait() == 1
