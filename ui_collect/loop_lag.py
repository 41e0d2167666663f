"""How late the event loop is: sampled all the time, so that a blocking call anywhere shows."""

from __future__ import annotations

import asyncio
import math
from collections import deque

INTERVAL_S = 0.05
_KEPT = 6000  # five minutes


class LoopLag:
    """Sleeps a little again and again and notes by how much it woke too late."""

    def __init__(self) -> None:
        self._lags_ms: deque[float] = deque(maxlen=_KEPT)
        self._worst_ms = 0.0

    async def sample(self) -> None:
        """Run until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + INTERVAL_S
            await asyncio.sleep(INTERVAL_S)
            late = max(0.0, (loop.time() - due) * 1000)
            self._lags_ms.append(late)
            self._worst_ms = max(self._worst_ms, late)

    def figures(self) -> dict[str, float]:
        """``p50_ms`` and ``p99_ms`` over the last five minutes, ``worst_ms`` since the start."""
        lags = sorted(self._lags_ms)
        return {
            "p50_ms": round(_quantile(lags, 0.5), 3),
            "p99_ms": round(_quantile(lags, 0.99), 3),
            "worst_ms": round(self._worst_ms, 3),
        }


def _quantile(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)] if ordered else 0.0
