"""What a station shows: a panel that is always up to date at a terminal, plain lines elsewhere."""

from __future__ import annotations

import io
import sys
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol, Self, TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from hitl_ops.records.station_hdf5 import Verdict
from robot_client.episode_run import EpisodeProgress
from robot_client.pacing import Jitter
from robot_client.policy_connection import Link
from robot_client.recordings import Tally
from robot_client.states import CONTROLS, MEANING, State

_LINES = 6
_REFRESHES_PER_S = 4
_RULE = "=" * 60
_LEAVE = ("Ctrl+C", "emergency exit: hold and save")
_BORDER_ROWS, _BORDER_COLUMNS = 2, 4
_KEY_COLUMNS, _NAME_COLUMNS = 10, 9
_LAST_TO_GO = ("frames", "latency", "label")
"""Facts that are shown on the smallest terminal too."""


@dataclass
class StationView:
    """Everything there is to show; written by the station, read by the screen.

    Attributes:
        task: in words.
        state: where the station is.
        epoch: being collected.
        episode: number of the episode, from 1.
        tally: of the epoch.
        link: how the connection to the policy server is.
        progress: of the episode that runs or ran last.
        label: what it was called; None so far.
        jitter: of the last finished episode.
        transfer: how the sync goes, in words.
    """

    task: str
    state: State = State.WAITING
    epoch: int = 0
    episode: int = 1
    tally: Tally = field(default_factory=Tally)
    link: Link = field(default_factory=Link)
    progress: EpisodeProgress = field(default_factory=EpisodeProgress)
    label: Verdict | None = None
    transfer: str = ""

    @property
    def headline(self) -> str:
        """The state in one line."""
        words = {
            State.READY: f"Policy ready (Epoch {self.epoch})",
            State.EXECUTING: f"Running policy (epoch {self.epoch}, episode {self.episode})",
            State.LABELING: f"Episode {self.episode} execution complete",
            State.SAVING: f"Saving episode {self.episode}",
        }.get(self.state, MEANING[self.state])
        return f"[{self.state}] {words}"

    @property
    def jitter(self) -> Jitter:
        """Of the last seconds."""
        return self.progress.jitter


class Screen(Protocol):
    """Where a station is shown."""

    def show(self, view: StationView) -> None:
        """The state has changed."""

    def say(self, text: str, *, wrong: bool = False) -> None:
        """Something happened: a line that stays."""

    def __enter__(self) -> Self:
        """Begin to show."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the terminal as it was."""


class PlainScreen:
    """Lines, for a log or a pipe.

    Args:
        output: where to.
    """

    def __init__(self, output: TextIO | None = None) -> None:
        self._output = output or sys.stdout

    def show(self, view: StationView) -> None:
        """See :class:`Screen`."""
        if view.state is State.LABELING and view.label is not None:
            return  # all of it has been printed; what it is called now is a line of its own
        lines = [_RULE, view.headline]
        if view.state in (State.READY, State.DECIDING):
            lines.append(f"  Episodes collected this epoch: {view.tally.complete} ({view.tally})")
        if view.state is State.LABELING:
            lines.append(f"  Recorded {view.progress.frames} frames ({view.progress.seconds:.1f} seconds)")
            lines.append(f"  {_timing(view)}")
        lines += [f"  '{control.key}' - {control.does}" for control in CONTROLS[view.state]]
        self._print("\n".join([*lines, _RULE]))

    def say(self, text: str, *, wrong: bool = False) -> None:
        """See :class:`Screen`."""
        self._print(f"  {'! ' if wrong else ''}{text}")

    def _print(self, text: str) -> None:
        print(text, file=self._output, flush=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._output.flush()


@dataclass
class _Event:
    """Something that happened, and how often in a row."""

    text: str
    wrong: bool
    times: int = 1

    def __str__(self) -> str:
        return f"{'! ' if self.wrong else '  '}{self.text}{f' (×{self.times})' if self.times > 1 else ''}"


class TerminalScreen:
    """A panel that a thread of its own keeps up to date: state, keys, frames, latency, jitter, and the last events.

    Where the terminal is small, events go first, the oldest before the others, then what is least needed; state, keys,
    frames and latency stay.

    Args:
        console: the terminal.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console()
        self._view: StationView | None = None
        self._said: deque[_Event] = deque(maxlen=_LINES)
        self._live = Live(
            get_renderable=self._panel,
            console=self._console,
            refresh_per_second=_REFRESHES_PER_S,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def show(self, view: StationView) -> None:
        """See :class:`Screen`."""
        self._view = view
        self._live.refresh()

    def say(self, text: str, *, wrong: bool = False) -> None:
        """See :class:`Screen`."""
        if self._said and (self._said[-1].text, self._said[-1].wrong) == (text, wrong):
            self._said[-1].times += 1
        else:
            self._said.append(_Event(text, wrong))

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def _panel(self) -> RenderableType:
        view = self._view
        if view is None:
            return Text("")
        width, room = self._console.width - _BORDER_COLUMNS, self._console.height - _BORDER_ROWS
        shown_keys = [(control.key, control.does) for control in CONTROLS[view.state]] + [_LEAVE]
        room -= _rows(view.headline, width) + sum(_rows(does, width - _KEY_COLUMNS) for _, does in shown_keys)
        shown_facts = list(self._facts(view))
        for name in [name for name, _, _ in shown_facts if name not in _LAST_TO_GO]:
            if sum(_rows(value, width - _NAME_COLUMNS) for _, value, _ in shown_facts) <= room:
                break
            shown_facts = [fact for fact in shown_facts if fact[0] != name]
        room -= sum(_rows(value, width - _NAME_COLUMNS) for _, value, _ in shown_facts)
        events: list[Text] = []
        for event in reversed(self._said):
            room -= _rows(str(event), width)
            if room < 0:
                break
            events.insert(0, Text(str(event), style="bold red" if event.wrong else ""))
        facts = Table.grid(padding=(0, 2))
        facts.add_column(style="dim")
        facts.add_column()
        for name, value, wrong in shown_facts:
            # Text, not markup: a bracket in a name is a bracket.
            facts.add_row(name, Text(value, style="bold red" if wrong else ""))
        keys = Table.grid(padding=(0, 2))
        for key, does in shown_keys:
            keys.add_row(Text(f" {key} ", style="reverse bold"), does)
        headline = Text(view.headline, style="bold yellow" if view.state is State.EXECUTING else "bold")
        parts: list[RenderableType] = [headline, facts, keys, *events]
        for place in (3, 2, 1):
            if room > 0 and place < len(parts):
                parts.insert(place, Text(""))
                room -= 1
        return Panel(Group(*parts), title="Flywheel station")

    def _facts(self, view: StationView) -> Iterator[tuple[str, str, bool]]:
        """Name, value, and whether it is a trouble."""
        link, progress = view.link, view.progress
        yield "task", f"{view.task}, Advantage=True", False
        if link.connected:
            yield "policy", link.policy.policy_id or "the server does not name it", False
        else:
            yield "policy", link.error or "connecting", True
        yield "epoch", f"{view.epoch}: {_count(view.tally.complete, 'episode')} ({view.tally})", False
        holding = "" if view.state is State.DAMPING else progress.holding
        yield "frames", f"{progress.frames} ({progress.seconds:.1f} s)  {holding}".rstrip(), False
        yield "latency", _latency(progress), False
        yield "jitter", f"{view.jitter}, {_count(view.jitter.missed, 'tick')} missed", False
        if view.state is State.LABELING:
            yield "label", {"good": "GOOD", "bad": "BAD", None: "none yet: g or b"}[view.label], False
        if view.transfer:
            yield "sync", view.transfer, False


def _latency(progress: EpisodeProgress) -> str:
    if not progress.chunks:
        return "no chunk yet"
    server = "" if progress.server_ms is None else f", server {progress.server_ms:.0f} ms"
    passed = f"{_count(progress.late_steps, 'step')} had passed"
    return f"{progress.latency_ms:.0f} ms{server}, chunk {progress.chunks}, {passed}"


def _timing(view: StationView) -> str:
    return f"latency {_latency(view.progress)}; jitter {view.jitter}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


_RULER = Console(width=1000, file=io.StringIO())


def _rows(text: str, columns: int) -> int:
    """How many rows a text takes where it is broken as the panel breaks it: a long path begins a row of its own."""
    return max(1, len(Text(text).wrap(_RULER, max(1, columns))))
