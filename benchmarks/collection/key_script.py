"""Which keys a person holds when: the same for both servers, so that only what the servers make of it differs."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import NamedTuple

REPEATS_PER_S = 30.0
"""Key-down events a second of a key that is held, as keyboards send them, and as many ticks as a world makes."""
AXES = {
    "MoveForward": (1.0, 0.0, 0.0),
    "MoveBackward": (-1.0, 0.0, 0.0),
    "StrafeLeft": (0.0, -1.0, 0.0),
    "StrafeRight": (0.0, 1.0, 0.0),
    "TurnLeft": (0.0, 0.0, 1.0),
    "TurnRight": (0.0, 0.0, -1.0),
}
_OFTEN = ("MoveForward",) * 5 + ("TurnLeft", "TurnRight") * 2 + ("MoveBackward", "StrafeLeft", "StrafeRight")


class Press(NamedTuple):
    """One press of a key.

    Attributes:
        wait_s: seconds since the last key was let go.
        hold_s: seconds it is held.
        action: what it stands for, in words.
        axes: and as forward, strafe, turn.
    """

    wait_s: float
    hold_s: float
    action: str
    axes: tuple[float, float, float]


def presses(seed: int) -> Iterator[Press]:
    """Presses without end: mostly ahead, turns in between, seldom a pause to look."""
    luck = random.Random(f"keys {seed}")
    while True:
        action = luck.choice(_OFTEN)
        wait = luck.uniform(1.0, 2.0) if luck.random() < 0.1 else luck.uniform(0.05, 0.3)
        hold = luck.uniform(0.15, 0.5) if action.startswith("Turn") else luck.uniform(0.3, 1.6)
        yield Press(wait, hold, action, AXES[action])
