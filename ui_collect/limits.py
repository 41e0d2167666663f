"""How much anyone may ask of the server: token buckets per connection and per address, and bounded counters."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable


class TokenBucket:
    """Lets ``burst`` things through at once and ``rate`` a second after that.

    Args:
        rate: things a second.
        burst: things at once.
        clock: seconds; monotonic.
    """

    __slots__ = ("_at", "_clock", "_left", "burst", "rate")

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.rate = rate
        self.burst = burst
        self._clock = clock
        self._left = burst
        self._at = clock()

    def take(self) -> bool:
        """Whether one more is let through now."""
        now = self._clock()
        self._left = min(self.burst, self._left + (now - self._at) * self.rate)
        self._at = now
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True


class AddressLimit:
    """A token bucket per address, for the addresses heard of last.

    Args:
        rate: things a second from one address.
        burst: things at once from one address.
        remembered: addresses kept; the longest unheard one is forgotten first, so memory is bounded.
        clock: seconds; monotonic.
    """

    def __init__(
        self, rate: float, burst: float, *, remembered: int = 4096, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rate = rate
        self._burst = burst
        self._remembered = remembered
        self._clock = clock
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    def take(self, address: str) -> bool:
        """Whether one more from ``address`` is let through now."""
        bucket = self._buckets.get(address)
        if bucket is None:
            bucket = self._buckets[address] = TokenBucket(self._rate, self._burst, self._clock)
            if len(self._buckets) > self._remembered:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(address)
        return bucket.take()


class Gauge:
    """Counts what is there now, up to a limit."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.now = 0
        self.peak = 0
        self.refused = 0

    def enter(self) -> bool:
        """Count one more, unless the limit is reached; whoever entered must :meth:`leave`."""
        if self.now >= self.limit:
            self.refused += 1
            return False
        self.now += 1
        self.peak = max(self.peak, self.now)
        return True

    def leave(self) -> None:
        """Count one less."""
        self.now -= 1
