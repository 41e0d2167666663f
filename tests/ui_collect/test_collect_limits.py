"""How much anyone may ask: buckets, addresses, counters, the loop's lateness."""

from __future__ import annotations

import asyncio
import time

from ui_collect.limits import AddressLimit, Gauge, TokenBucket
from ui_collect.loop_lag import LoopLag


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_bucket_lets_a_burst_through_and_then_a_steady_rate() -> None:
    clock = Clock()
    bucket = TokenBucket(rate=60, burst=120, clock=clock)
    assert sum(bucket.take() for _ in range(200)) == 120
    clock.now += 0.5
    assert sum(bucket.take() for _ in range(200)) == 30
    clock.now += 1000
    assert sum(bucket.take() for _ in range(500)) == 120, "a long rest saves up no more than a burst"


def test_addresses_are_counted_apart_and_forgotten_when_there_are_too_many() -> None:
    clock = Clock()
    limit = AddressLimit(rate=5, burst=2, remembered=3, clock=clock)
    assert [limit.take("a") for _ in range(3)] == [True, True, False]
    assert limit.take("b")
    for number in range(1000):
        limit.take(f"x{number}")
    assert len(limit._buckets) == 3
    assert limit.take("a"), "forgotten"


def test_a_gauge_refuses_beyond_its_limit() -> None:
    gauge = Gauge(2)
    assert [gauge.enter() for _ in range(3)] == [True, True, False]
    gauge.leave()
    assert gauge.enter()
    assert (gauge.now, gauge.peak, gauge.refused) == (2, 2, 1)


def test_a_blocked_loop_is_seen() -> None:
    async def scene() -> dict[str, float]:
        lag = LoopLag()
        sampling = asyncio.create_task(lag.sample())
        await asyncio.sleep(0.12)
        time.sleep(0.25)
        await asyncio.sleep(0.12)
        sampling.cancel()
        return lag.figures()

    figures = asyncio.run(scene())
    assert figures["worst_ms"] >= 150
    assert figures["p99_ms"] >= 150
    assert figures["p50_ms"] < figures["p99_ms"]
