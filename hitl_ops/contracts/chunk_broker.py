"""Turns chunks of actions, which come late and overlap, into one action a tick."""

from __future__ import annotations

import numpy as np

from hitl_ops.contracts.robot import Float32


class ChunkBroker:
    """Carries out one chunk while the next is on its way, and fades from one into the other.

    A chunk answers the observation it was asked with: its first action was meant for that moment. Actions carried out
    while the policy was thinking have passed and are dropped from the new chunk; where old and new overlap, the old
    one's weight falls linearly from 1 to 0. While nothing is left to carry out the robot holds, no action passes, and
    so nothing is dropped for that time.

    Args:
        chunk_steps: actions of a chunk carried out before the next is asked for.
        blend_steps: longest overlap that is blended; 0 switches at once.
    """

    def __init__(self, *, chunk_steps: int, blend_steps: int) -> None:
        self._chunk_steps = chunk_steps
        self._blend_steps = blend_steps
        self.reset()

    def reset(self) -> None:
        """Forget every chunk, and whatever was asked for: an episode begins."""
        self._plan: Float32 | None = None
        self._passed = 0  # actions carried out since the episode began
        self._plan_from = 0  # when the plan's first action is due, counted like `_passed`
        self._origin = 0  # when the last chunk was asked for
        self._asked_at: int | None = None

    @property
    def left(self) -> int:
        """Actions that can still be carried out."""
        return 0 if self._plan is None else len(self._plan) - (self._passed - self._plan_from)

    @property
    def waiting(self) -> bool:
        """Whether a chunk is on its way."""
        return self._asked_at is not None

    def wants_chunk(self) -> bool:
        """Whether the present observation should be sent now."""
        return not self.waiting and (self.left == 0 or self._passed - self._origin >= self._chunk_steps)

    def asked(self) -> None:
        """The present observation has been sent."""
        self._asked_at = self._passed

    def give_up(self) -> None:
        """What was asked for will not come; the next observation is sent instead."""
        self._asked_at = None

    def receive(self, actions: Float32) -> int:
        """Take in the chunk that was asked for; returns how many of its actions had passed already.

        Args:
            actions: checked, [H, dim] float32.
        """
        if self._asked_at is None:
            raise ValueError("a chunk came that nobody asked for")
        asked_at, self._asked_at = self._asked_at, None
        late = self._passed - asked_at
        fresh = actions[late:]
        if not len(fresh):
            return late
        old = None if self._plan is None else self._plan[self._passed - self._plan_from :]
        plan = fresh.copy()
        overlap = 0 if old is None else min(len(old), len(fresh), self._blend_steps)
        if old is not None and overlap:
            weight = np.linspace(1.0, 0.0, overlap, dtype=np.float32)[:, None]
            plan[:overlap] = weight * old[:overlap] + (1 - weight) * fresh[:overlap]
        self._plan, self._plan_from, self._origin = plan, self._passed, asked_at
        return late

    def next_action(self) -> Float32 | None:
        """The action of this tick, [dim]; None while there is none: hold."""
        if self._plan is None or self.left == 0:
            return None
        action: Float32 = self._plan[self._passed - self._plan_from]
        self._passed += 1
        return action
