"""The emergency exit: Ctrl+C, a closed terminal, or a service manager's word, noted and acted on within a tick."""

from __future__ import annotations

import signal
import time
from types import FrameType, TracebackType
from typing import Any, Self

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_LOOK_S = 0.02


class EmergencyExit:
    """Remembers that one of the signals came; more of them change nothing, so that holding and saving go on."""

    def __init__(self) -> None:
        # A plain flag: a handler that took a lock could wait for the very code it interrupted.
        self._taken = False
        self._before: dict[signal.Signals, Any] = {}

    @property
    def taken(self) -> bool:
        """Whether the exit was taken."""
        return self._taken

    def take(self) -> None:
        """Take it."""
        self._taken = True

    def wait(self, seconds: float) -> bool:
        """Wait, but no longer than until it is taken; returns whether it was."""
        until = time.monotonic() + seconds
        while not self._taken and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, _LOOK_S))
        return self._taken

    def __enter__(self) -> Self:
        for number in _SIGNALS:
            self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._taken = True
