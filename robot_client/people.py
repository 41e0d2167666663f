"""Who presses the keys: a person at the terminal, or one made up for demonstrations in simulation."""

from __future__ import annotations

import contextlib
import os
import select
import sys
import termios
import tty
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self

from hitl_ops.records.station_hdf5 import Verdict
from robot_client.states import State


@dataclass(frozen=True, slots=True)
class Situation:
    """What whoever is at the keys sees.

    Attributes:
        state: where the station is.
        since_s: seconds in this state; the robot's own while it executes.
        episodes: complete ones of this epoch.
        label: what the episode that awaits its label was called; None so far.
        success: whether the task is done, where a simulated world can tell.
    """

    state: State
    since_s: float
    episodes: int = 0
    label: Verdict | None = None
    success: bool | None = None


class Person(Protocol):
    """Whoever presses keys."""

    def keys(self, situation: Situation) -> list[str]:
        """The keys pressed since the last call, small letters; never waits."""


class Keyboard:
    """The keys of a terminal, each at once and without echo; of a pipe where there is no terminal.

    Ctrl+C stays what it is, a signal; Ctrl+Z is switched off, because a client that is stopped leaves a robot alone.
    Leaving the context puts the terminal back.

    Args:
        descriptor: where keys come from; standard input by default.
    """

    def __init__(self, descriptor: int | None = None) -> None:
        self._descriptor = sys.stdin.fileno() if descriptor is None else descriptor
        self._before: list[Any] | None = None
        self._open = True

    def __enter__(self) -> Self:
        if os.isatty(self._descriptor):
            self._before = termios.tcgetattr(self._descriptor)
            tty.setcbreak(self._descriptor, termios.TCSANOW)
            changed = termios.tcgetattr(self._descriptor)
            changed[6][termios.VSUSP] = b"\x00"
            termios.tcsetattr(self._descriptor, termios.TCSANOW, changed)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._before is not None:
            with contextlib.suppress(termios.error):  # the terminal itself may have gone
                termios.tcsetattr(self._descriptor, termios.TCSADRAIN, self._before)

    def keys(self, situation: Situation) -> list[str]:
        """See :class:`Person`."""
        pressed: list[str] = []
        while self._open and select.select([self._descriptor], [], [], 0)[0]:
            try:
                data = os.read(self._descriptor, 256)
            except OSError:
                data = b""
            if not data:
                self._open = False
            pressed += [letter for letter in data.decode("ascii", "ignore").lower() if letter.isalpha()]
        return pressed


class SimulatedPerson:
    """Judges by the simulator's truth and never tires: for demonstrations and tests in simulation.

    Stops an episode once the task is done or time is up, says good or bad as it is, and finishes the epoch after so
    many episodes.

    Args:
        episodes: per epoch.
        patience_s: seconds of robot time after which an episode is stopped.
        settle_s: seconds to go on after the task is done, so that recordings do not end in mid-air.
    """

    def __init__(self, episodes: int, *, patience_s: float = 8.0, settle_s: float = 0.2) -> None:
        self._episodes = episodes
        self._patience_s = patience_s
        self._settle_s = settle_s
        self._done_at: float | None = None

    def keys(self, situation: Situation) -> list[str]:
        """See :class:`Person`."""
        state = situation.state
        if state in (State.READY, State.DECIDING):
            self._done_at = None
            return ["n" if situation.episodes >= self._episodes else "y"]
        if state is State.EXECUTING:
            if situation.success and self._done_at is None:
                self._done_at = situation.since_s
            settled = self._done_at is not None and situation.since_s - self._done_at >= self._settle_s
            return ["s"] if settled or situation.since_s >= self._patience_s else []
        if state is State.LABELING:
            return ["g" if situation.success else "b", "r"]
        return []
