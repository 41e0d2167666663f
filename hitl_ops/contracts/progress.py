"""How long work tells that it is alive, without knowing who listens."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Called with what is done, what there is to do, and a word on the present state."""

    def __call__(self, done: int, total: int, note: str = "") -> None:
        """Report progress; must be cheap."""


def silent(done: int, total: int, note: str = "") -> None:
    """Report nothing."""
