"""How long work shows itself: a bar on a terminal, now and then a line elsewhere. On stderr; results go to stdout."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from typing import TYPE_CHECKING

from hitl_ops.contracts.progress import silent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hitl_ops.contracts.progress import Progress

LINE_EVERY_S = 10.0


@contextlib.contextmanager
def progress_bar(title: str) -> Iterator[Progress]:
    """Show the progress of one piece of work until the block ends.

    Args:
        title: what is being done ("rollouts").

    Yields:
        The function to report progress to. Processes other than the first of a distributed run stay silent.
    """
    if os.environ.get("RANK", "0") != "0":
        yield silent
    elif sys.stderr.isatty():
        with _bar(title) as report:
            yield report
    else:
        yield _Lines(title)


@contextlib.contextmanager
def _bar(title: str) -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("[dim]{task.fields[note]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(title, total=None, note="")

        def report(done: int, total: int, note: str = "") -> None:
            bar.update(task, completed=done, total=total, note=note)

        yield report


class _Lines:
    """Says a line at the start, every ten seconds and at the end."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._started = time.monotonic()
        self._told = float("-inf")
        self._last = (-1, -1)

    def __call__(self, done: int, total: int, note: str = "") -> None:
        now = time.monotonic()
        finished = done >= total and self._last != (done, total)
        if not finished and now - self._told < LINE_EVERY_S:
            return
        self._told, self._last = now, (done, total)
        tail = f"  {note}" if note else ""
        print(f"{self._title}: {done}/{total} after {now - self._started:.0f} s{tail}", file=sys.stderr, flush=True)
