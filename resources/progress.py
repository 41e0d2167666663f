"""Who is told how far a step is: the event log of the run, unless somebody puts another listener in its place."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field

if TYPE_CHECKING:
    from hitl_ops.contracts.progress import Progress


class ProgressListener(ABC):
    """Gives each step the callback that long work in ``hitl_ops`` calls."""

    @abstractmethod
    def of_step(self, context: dg.AssetExecutionContext) -> Progress:
        """The callback of one step."""


class ProgressLog(dg.ConfigurableResource, ProgressListener):
    """Writes a line to the run's log now and then: often enough to see life, rarely enough to read."""

    every_s: float = Field(default=10.0, ge=0, description="seconds between two lines of one step")

    def of_step(self, context: dg.AssetExecutionContext) -> Progress:
        """The callback of one step."""
        last = time.monotonic()

        def tell(done: int, total: int, note: str = "") -> None:
            nonlocal last
            now = time.monotonic()
            if now - last >= self.every_s or done >= total:
                last = now
                share = f" ({100 * done / total:.0f} %)" if total else ""
                context.log.info(f"{done}/{total}{share}{': ' if note else ''}{note}")

        return tell
