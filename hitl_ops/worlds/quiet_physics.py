"""PyBullet, imported and connected to without what it says then.

It says when it was built, and what it was called with, past Python's own streams: in the middle of a table, or of JSON.
Each is kept away by pointing the process's streams to nowhere for as long as that call takes.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import threading
from collections.abc import Iterator
from typing import Any

from hitl_ops.contracts.errors import UserError

_STREAMS = (1, 2)
# One after the other: a second thread would take "nowhere" for the stream to go back to.
_one_at_a_time = threading.Lock()


def quiet_pybullet() -> Any:
    """The module ``pybullet``.

    Raises:
        UserError: it is not installed.
    """
    if "pybullet" in sys.modules:
        return sys.modules["pybullet"]
    with _not_heard():
        try:
            import pybullet
        except ImportError:
            raise UserError("PyBullet is not installed", "run `make setup`") from None
    return pybullet


def connect_quietly(bullet: Any) -> int:
    """A new world of physics of its own, in this process, without a window; returns its number.

    Args:
        bullet: the module, see :func:`quiet_pybullet`.
    """
    with _not_heard():
        client: int = bullet.connect(bullet.DIRECT)
    return client


@contextlib.contextmanager
def _not_heard() -> Iterator[None]:
    """Nothing that is written to standard output or error meanwhile is kept, by whichever thread."""
    # The C library keeps what goes to a file or a pipe: what is due is let out before, what nobody wants while it
    # goes nowhere. Called with the interpreter's lock held, so that no other thread of Python writes meanwhile.
    library = ctypes.PyDLL(None)
    with _one_at_a_time:
        library.fflush(None)
        kept = [(stream, os.dup(stream)) for stream in _STREAMS if _is_open(stream)]
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            for stream, _ in kept:
                os.dup2(nowhere, stream)
            yield
        finally:
            library.fflush(None)
            for stream, copy in kept:
                os.dup2(copy, stream)
                os.close(copy)
            os.close(nowhere)


def _is_open(stream: int) -> bool:
    try:
        os.fstat(stream)
    except OSError:
        return False
    return True
