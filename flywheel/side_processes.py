"""Commands that run beside a verb until it no longer needs them: servers, scripted people, simulated stations."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hitl_ops.contracts.errors import UserError
from hitl_ops.serving.child_process import ENDS_WITH

if TYPE_CHECKING:
    from hitl_ops.contracts.store import Store

START_WITHIN_S = 120.0
_STOP_WITHIN_S = 60.0
_LOOK_S = 0.1


def start(
    store: Store,
    words: Sequence[str],
    log: Path,
    *,
    module: str = "flywheel",
    environment: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start ``python -m <module> <words>`` on a store.

    Args:
        store: what it works on.
        words: its arguments.
        log: file that takes what it prints.
        module: what is run.
        environment: variables added to this process's own.
    """
    own = {
        **os.environ,
        **(environment or {}),
        "FLYWHEEL_HOME": str(store.root),
        "PYTHONUNBUFFERED": "1",
        # A server left behind by a killed demo would hold the store's lock, and work on for nobody.
        ENDS_WITH: str(os.getpid()),
    }
    # It may print a token.
    with open(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", module, *words],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=own,
            # Ctrl+C is for the one who waits; it ends what it started in order.
            start_new_session=True,
        )


def said(process: subprocess.Popen[bytes], log: Path, wanted: re.Pattern[str], what: str) -> str:
    """The first group of what a process prints, as soon as it has.

    Args:
        process: the process.
        log: where it prints.
        wanted: what is waited for.
        what: the process, in words.

    Raises:
        UserError: it ended before it said so, or takes too long; the log is named.
    """
    deadline = time.monotonic() + START_WITHIN_S
    while (found := wanted.search(log.read_text(encoding="utf-8", errors="replace"))) is None:
        if process.poll() is not None:
            raise UserError(f"{what} ended before it began", f"see '{log}'")
        if time.monotonic() > deadline:
            raise UserError(f"{what} was not ready within {START_WITHIN_S:g} s", f"see '{log}'")
        time.sleep(_LOOK_S)
    return found[1]


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process: politely first, then with everything it started."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
