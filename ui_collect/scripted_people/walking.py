"""From a way through the home to keys held down: what a person's fingers do between two frames."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from hitl_ops.worlds.household.world import heading
from ui_collect.keyframes import AgentRow
from ui_collect.scripted_people.floor_plan import Place

_REACHED = 0.15
"""Metres from a corner at which the next one is looked at; at most half a grid cell from where one may stand."""
_WIDE = 0.9
"""Radians off the way beyond which one stops to turn."""
_STRAIGHT = 0.06
_FULL_TURN = 0.35
"""Radians off the way from which the turning key is held fully; below it a touch pad's share of it."""
_STEPS = 4


class Keys(NamedTuple):
    """What is held down: the fields of an ``input`` message."""

    forward: float = 0.0
    strafe: float = 0.0
    turn: float = 0.0


STILL = Keys()


class Walk:
    """One walk along a way.

    Args:
        way: its corners.
    """

    def __init__(self, way: Sequence[Place]) -> None:
        self._way = list(way)
        self._at = 0

    @property
    def arrived(self) -> bool:
        """Whether the last corner is reached."""
        return self._at >= len(self._way)

    def keys(self, body: AgentRow) -> Keys:
        """What to hold down now, from where the body is seen to be."""
        here = (body.x, body.z)
        while not self.arrived and math.dist(here, self._way[self._at]) < _REACHED:
            self._at += 1
        if self.arrived:
            return STILL
        off = math.remainder(heading(here, self._way[self._at]) - body.yaw, math.tau)
        if abs(off) < _STRAIGHT:
            return Keys(forward=1.0)
        share = min(1.0, max(1 / _STEPS, math.ceil(abs(off) / _FULL_TURN * _STEPS) / _STEPS))
        return Keys(forward=0.0 if abs(off) > _WIDE else 1.0, turn=math.copysign(share, off))
