"""What somebody watching the demo sees: the stages, which one is at work, how far it is."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from resources.progress import ProgressListener

if TYPE_CHECKING:
    import dagster as dg
    from rich.console import Console
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

    from hitl_ops.contracts.progress import Progress

_LINE_EVERY_S = 15.0


@contextlib.contextmanager
def shown_stages(stages: Mapping[str, str], console: Console) -> Iterator[Stages]:
    """Show the stages until the block ends.

    Args:
        stages: asset → what a person calls it, in the order they come.
        console: where to; bars on a terminal, now and then a line elsewhere.
    """
    if console.is_terminal:
        with StagesAsBars(stages, console) as bars:
            yield bars
    else:
        yield StagesAsLines(stages)


class Stages(ProgressListener):
    """Told by each step how far it is; a stage has ended when the next begins."""

    def __init__(self, stages: Mapping[str, str]) -> None:
        self.stages = dict(stages)
        self.at_work: str | None = None

    def of_step(self, context: dg.AssetExecutionContext) -> Progress:
        """The callback of one step."""
        return self.of(context.asset_key.to_user_string())

    def of(self, stage: str) -> Progress:
        """The callback of a stage, which begins now; the one before has ended."""
        self.ended()
        self.at_work = stage
        self.begin(stage)

        def tell(done: int, total: int, note: str = "") -> None:
            self.tell(stage, done, total, note)

        return tell

    def ended(self) -> None:
        """The stage at work has come to its end."""
        if self.at_work is not None:
            self.end(self.at_work)
            self.at_work = None

    def begin(self, asset: str) -> None:
        """A stage begins."""

    def tell(self, asset: str, done: int, total: int, note: str) -> None:
        """A stage says how far it is."""

    def end(self, asset: str) -> None:
        """A stage has come to its end."""


class StagesAsBars(Stages):
    """A bar for each stage, all in sight from the start."""

    def __init__(self, stages: Mapping[str, str], console: Console) -> None:
        super().__init__(stages)
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        self._bars: Bars = Progress(
            TextColumn("{task.fields[mark]}"),
            TextColumn("{task.description}"),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("[dim]{task.fields[note]}"),
            console=console,
        )
        self._tasks: dict[str, TaskID] = {
            asset: self._bars.add_task(title, total=None, start=False, mark="[dim]·[/]", note="")
            for asset, title in stages.items()
        }

    def __enter__(self) -> StagesAsBars:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def begin(self, asset: str) -> None:
        """The stage's clock starts."""
        self._bars.start_task(self._tasks[asset])
        self._bars.update(self._tasks[asset], mark="[cyan]▸[/]")

    def tell(self, asset: str, done: int, total: int, note: str) -> None:
        """The stage's bar grows."""
        self._bars.update(self._tasks[asset], completed=done, total=total or None, note=note)

    def end(self, asset: str) -> None:
        """The stage's bar is full, and its clock stands."""
        task = self._bars.tasks[self._tasks[asset]]
        total = task.total or 1
        self._bars.update(task.id, completed=total, total=total, mark="[green]✔[/]", note="")
        self._bars.stop_task(task.id)


class StagesAsLines(Stages):
    """A line at the start, now and then, and at the end of each stage, for logs and pipes."""

    def __init__(self, stages: Mapping[str, str]) -> None:
        super().__init__(stages)
        self._began = self._said = 0.0

    def begin(self, asset: str) -> None:
        """Say so."""
        self._began = self._said = time.monotonic()
        self._say(asset, "…")

    def tell(self, asset: str, done: int, total: int, note: str) -> None:
        """Say so, if the last line is a while ago."""
        now = time.monotonic()
        if now - self._said >= _LINE_EVERY_S:
            self._said = now
            self._say(asset, f"{done}/{total}{'  ' if note else ''}{note}")

    def end(self, asset: str) -> None:
        """Say how long it took."""
        self._say(asset, f"done after {time.monotonic() - self._began:.0f} s")

    def _say(self, asset: str, what: str) -> None:
        print(f"{self.stages[asset]}: {what}", file=sys.stderr, flush=True)
