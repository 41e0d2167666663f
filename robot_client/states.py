"""The states of a station, and what each key does in them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """Where a station is."""

    WAITING = "WAITING"
    READY = "READY"
    EXECUTING = "EXECUTING"
    LABELING = "LABELING"
    DAMPING = "DAMPING"
    SAVING = "SAVING"
    DECIDING = "DECIDING"
    SYNCING = "SYNCING"
    FINISHED = "FINISHED"


@dataclass(frozen=True, slots=True)
class Control:
    """A key and what it does."""

    key: str
    does: str


MEANING: dict[State, str] = {
    State.WAITING: "Polling server for new policy weights",
    State.READY: "Policy ready",
    State.EXECUTING: "Running policy",
    State.LABELING: "Episode complete, awaiting its label",
    State.DAMPING: "Robot is soft: adjust it by hand",
    State.SAVING: "Saving episode",
    State.DECIDING: "Continue or finish epoch",
    State.SYNCING: "Uploading data to server",
    State.FINISHED: "Session complete",
}

_START = Control("y", "start new episode")
_FINISH = Control("n", "finish epoch, sync data")

CONTROLS: dict[State, tuple[Control, ...]] = {
    State.WAITING: (),
    State.READY: (_START, _FINISH),
    State.EXECUTING: (Control("s", "stop execution, enter labeling"),),
    State.LABELING: (
        Control("g", "label as GOOD (Advantage=True)"),
        Control("b", "label as BAD (Advantage=False)"),
        Control("r", "reset robot to starting pose"),
        Control("d", "enter damping mode"),
    ),
    State.DAMPING: (Control("e", "exit damping, save episode"),),
    State.SAVING: (),
    State.DECIDING: (_START, _FINISH),
    State.SYNCING: (),
    State.FINISHED: (),
}
"""Ctrl+C leaves every state by the emergency exit."""

FOLLOWS: dict[State, frozenset[State]] = {
    State.WAITING: frozenset({State.READY, State.SYNCING}),
    State.READY: frozenset({State.EXECUTING, State.SYNCING}),
    State.EXECUTING: frozenset({State.LABELING, State.SAVING, State.READY, State.DECIDING}),
    State.LABELING: frozenset({State.DAMPING, State.SAVING}),
    State.DAMPING: frozenset({State.SAVING}),
    State.SAVING: frozenset({State.DECIDING}),
    State.DECIDING: frozenset({State.EXECUTING, State.SYNCING}),
    State.SYNCING: frozenset({State.WAITING, State.FINISHED}),
    State.FINISHED: frozenset(),
}
"""What may follow what."""
