"""Copies of the planner's library: each holds one game, so every engine needs one of its own.

They are never unloaded but used again. Every copy registers its parts in one table that all copies in a process share
(a C++ object with a unique symbol); after ``fast_downward.close_lib`` the table still points into what was unloaded,
and the next copy to be loaded may crash the process.
"""

from __future__ import annotations

import threading
from typing import Any

from hitl_ops.worlds.alfworld.package import alfworld_module

_idle: list[Any] = []
_lock = threading.Lock()


def take_library() -> Any:
    """A copy of the planner's library that nobody else uses.

    Raises:
        UserError: the extra is not installed.
    """
    planner = alfworld_module("fast_downward")
    with _lock:
        return _idle.pop() if _idle else planner.load_lib()


def give_back_library(library: Any) -> None:
    """Let the next engine have a copy."""
    with _lock:
        _idle.append(library)
