"""How a verb started by Dagster tells Dagster how it fares; without Dagster it says nothing.

Dagster launches heavy verbs (``flywheel train``) as processes of their own, through Pipes. A verb opens
:func:`reporting` round its work and hands ``report.progress`` to the function it calls. Only the first of several
processes (torchrun's rank 0) speaks.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from hitl_ops.contracts.errors import UserError

if TYPE_CHECKING:
    from dagster_pipes import PipesContext
    from pydantic import BaseModel

    from hitl_ops.contracts.progress import Progress

# The two variables that the Pipes protocol sets in the environment of the process it starts.
_PIPES_VARIABLES = ("DAGSTER_PIPES_CONTEXT", "DAGSTER_PIPES_MESSAGES")
# What a process whose starter has died gets to put its things in order.
_LAST_SECONDS = 20.0
# A bar needs no more; a training loop may step hundreds of times a second.
_SECONDS_BETWEEN_MESSAGES = 0.25


class PipesReport:
    """Messages to the Dagster step that started this process.

    Args:
        pipes: the open Pipes session, or None where nobody listens; every method is then a no-op.
    """

    def __init__(self, pipes: PipesContext | None) -> None:
        self._pipes = pipes
        self._last = 0.0

    @property
    def listened_to(self) -> bool:
        """Whether Dagster started this process and this is the rank that speaks."""
        return self._pipes is not None

    def progress(self, done: int, total: int, note: str = "") -> None:
        """Pass on how far the work is; has the form of :class:`hitl_ops.contracts.progress.Progress`."""
        now = time.monotonic()
        if self._pipes is None or (now - self._last < _SECONDS_BETWEEN_MESSAGES and done < total):
            return
        self._last = now
        self._pipes.report_custom_message({"progress": {"done": done, "total": total, "note": note}})

    def finished(self, summary: BaseModel | Mapping[str, Any]) -> None:
        """Hand over what came out, as plain data; the step turns it into metadata."""
        if self._pipes is not None:
            plain = dict(summary) if isinstance(summary, Mapping) else summary.model_dump(mode="json")
            self._pipes.report_custom_message({"summary": plain})

    def mistake(self, error: UserError) -> None:
        """Hand over a user's mistake, so that Dagster shows its one line rather than an exit code."""
        if self._pipes is not None:
            self._pipes.report_custom_message({"mistake": {"what": error.what, "remedy": error.remedy}})


@contextlib.contextmanager
def reporting(*, starts_others: bool = False) -> Iterator[PipesReport]:
    """Open the way to Dagster where there is one.

    A :class:`UserError` raised inside is reported, then goes its way to the command line.

    Args:
        starts_others: this process leaves the work to others of the same verb. The first of them speaks; this one
            says only what keeps it from starting them.
    """
    if any(name not in os.environ for name in _PIPES_VARIABLES):
        yield PipesReport(None)
        return
    # Cancelling comes as SIGINT, which a starter in the background passes on as ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=_leave_with_the_starter, daemon=True).start()
    if os.environ.get("RANK", "0") != "0":
        yield PipesReport(None)
        return
    from dagster_pipes import open_dagster_pipes

    if starts_others:
        try:
            yield PipesReport(None)
        except UserError as error:
            with open_dagster_pipes() as pipes:
                PipesReport(pipes).mistake(error)
            raise
        return
    with open_dagster_pipes() as pipes:
        report = PipesReport(pipes)
        try:
            yield report
        except UserError as error:
            report.mistake(error)
            raise


def _leave_with_the_starter() -> None:
    """End this process when the one that started it is gone, however it went.

    The starter holds the other end of standard input. Left behind, a training would go on writing checkpoints into
    the folder that the next run continues from.
    """
    with contextlib.suppress(OSError):
        while os.read(0, 1024):
            pass
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(_LAST_SECONDS)
    os._exit(130)


def both(*listeners: Progress) -> Progress:
    """One progress callback that tells several, a bar in the terminal and Dagster, say."""

    def tell(done: int, total: int, note: str = "") -> None:
        for listener in listeners:
            listener(done, total, note)

    return tell
