"""Shortest ways in straight lines past rectangles: from corner to corner of a visibility graph.

A shortest way among polygons bends only at their corners, so that the shortest one over the graph of all corners in
sight of each other is the shortest there is (Lozano-Pérez and Wesley 1979, "An algorithm for planning collision-free
paths among polyhedral obstacles"). A body is kept clear of walls by growing them by its radius, as they do.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Place = tuple[float, float]
_TOUCH = 1e-6
"""Metres that a way may lie inside a grown rectangle: its own corners and edges are to be walked along."""
_NO_WAY = 1e12
_AT_ONCE = 6
"""Lines tested against all rectangles in one go."""


@dataclass(frozen=True, slots=True)
class _Ends:
    """What may come first on a way to the nearest of some goals: one of the goals itself, or a corner.

    Attributes:
        ahead: the goals, then all corners, float [goals + corners, 2].
        onward: metres from each of these to the nearest goal, float [goals + corners].
        last: the corner from which the way past each corner goes straight to its goal, [corners].
        goal: number of that goal, [corners].
    """

    ahead: NDArray[np.float64]
    onward: NDArray[np.float64]
    last: list[int]
    goal: list[int]


class StraightWays:
    """Shortest ways of a body's centre past rectangles; what was found out of goals is kept.

    Args:
        solid: rectangles (x0, z0, x1, z1) in metres, float [n, 4].
        radius: how far the centre stays away from each along x or z, metres: the body counts as a square.
    """

    def __init__(self, solid: NDArray[np.float64], radius: float) -> None:
        grown = solid + np.array((-radius, -radius, radius, radius))
        self._low, self._high = grown[:, :2] + _TOUCH, grown[:, 2:] - _TOUCH
        self._middle_x, self._middle_z = (self._low + self._high).T / 2
        self._half_x, self._half_z = (self._high - self._low).T / 2
        corners = np.concatenate([grown[:, (0, 1)], grown[:, (0, 3)], grown[:, (2, 1)], grown[:, (2, 3)]])
        self._corners = np.unique(corners[self._are_clear(corners)], axis=0)
        self._places: list[Place] = [(x, z) for x, z in self._corners.tolist()]
        self._join_corners()
        self._ends: dict[tuple[Place, ...], _Ends] = {}

    def _join_corners(self) -> None:
        from scipy.sparse import csr_matrix
        from scipy.sparse.csgraph import dijkstra

        seen = np.stack([self._sight_from(corner) for corner in self._corners])
        one, other = np.nonzero((seen < _NO_WAY) & (seen > 0))
        graph = csr_matrix((seen[one, other], (one, other)), shape=(len(seen), len(seen)))
        metres, before = dijkstra(graph, directed=False, return_predecessors=True)
        self._metres = np.where(np.isfinite(metres), metres, _NO_WAY)
        self._before = before.tolist()

    def is_clear(self, x: float, z: float) -> bool:
        """Whether the body's centre may be at a place."""
        return bool(self._are_clear(np.array([(x, z)]))[0])

    def _are_clear(self, places: NDArray[np.float64]) -> NDArray[np.bool_]:
        at = places[:, None]
        return np.asarray(~((at > self._low) & (at < self._high)).all(axis=2).any(axis=1))

    def _is_straight(self, here: NDArray[np.float64], there: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether nothing lies between ``here`` [2] and each of ``there`` [n, 2], by separating axes.

        As Gottschalk, Lin and Manocha 1996 for boxes: a line misses a rectangle where they are apart along x, along z,
        or across the line.
        """
        half = (there - here) / 2
        x, z = half[:, :1], half[:, 1:]
        long_x, long_z = np.abs(x), np.abs(z)
        away_x, away_z = here[0] + x - self._middle_x, here[1] + z - self._middle_z
        meets = np.abs(away_x) < long_x + self._half_x
        meets &= np.abs(away_z) < long_z + self._half_z
        meets &= np.abs(x * away_z - z * away_x) < self._half_x * long_z + self._half_z * long_x
        return np.asarray(~meets.any(axis=1))

    def _sight_from(self, here: NDArray[np.float64]) -> NDArray[np.float64]:
        """Metres to each corner in a straight line, float [corners]; ``_NO_WAY`` where something lies between."""
        away = self._corners - here
        metres = np.sqrt((away * away).sum(axis=1))
        return np.where(self._is_straight(here, self._corners), metres, _NO_WAY)

    def _ends_at(self, goals: tuple[Place, ...], keep: bool) -> _Ends:
        ends = self._ends.get(goals)
        if ends is None:
            places = np.array(goals)
            seen = np.stack([self._sight_from(goal) for goal in places])
            through = self._metres + seen.min(axis=0)
            last = through.argmin(axis=1)
            onward = np.concatenate([np.zeros(len(goals)), through.min(axis=1)])
            goal = seen.argmin(axis=0)[last]
            ends = _Ends(np.concatenate([places, self._corners]), onward, last.tolist(), goal.tolist())
            if keep:
                self._ends[goals] = ends
        return ends

    def way(self, start: Place, goals: tuple[Place, ...], *, keep: bool = True) -> list[Place] | None:
        """Where the shortest way to the nearest of some goals bends.

        Args:
            start: a place (x, z), metres.
            goals: places, at least one.
            keep: whether to remember what was found out of these goals, for the next question.

        Returns:
            The start, corners, and the goal reached; None where there is no way.
        """
        ends = self._ends_at(goals, keep)
        here = np.array(start)
        away = ends.ahead - here
        metres = np.sqrt((away * away).sum(axis=1)) + ends.onward
        order = metres.argsort(kind="stable")
        # The shortest that begins with a straight line is it: seldom many are to be looked at.
        for tried in range(0, len(order), _AT_ONCE):
            best = order[tried : tried + _AT_ONCE]
            straight = self._is_straight(here, ends.ahead[best])
            if straight.any():
                first = int(best[straight.argmax()])
                return None if metres[first] >= _NO_WAY else self._bends(start, goals, ends, first)
        return None

    def _bends(self, start: Place, goals: tuple[Place, ...], ends: _Ends, first: int) -> list[Place]:
        if first < len(goals):
            return [start, goals[first]]
        corner = first - len(goals)
        way, last, goal = [start], ends.last[corner], goals[ends.goal[corner]]
        while corner != last:
            way.append(self._places[corner])
            corner = self._before[last][corner]
        return [*way, self._places[last], goal]


def strides(bends: list[Place], longest: float) -> tuple[tuple[Place, ...], tuple[float, ...]]:
    """A way in straight lines as places no farther apart than ``longest``, in equal strides on each line.

    Returns:
        The places, first and last included, and the metres walked when reaching each.
    """
    places, metres = [bends[0]], [0.0]
    for (x0, z0), (x1, z1) in itertools.pairwise(bends):
        long = math.hypot(x1 - x0, z1 - z0)
        if long < _TOUCH:
            continue
        count = max(1, math.ceil(long / longest - 1e-9))
        done = metres[-1]
        for number in range(1, count):
            share = number / count
            places.append((x0 + (x1 - x0) * share, z0 + (z1 - z0) * share))
            metres.append(done + long * share)
        places.append((x1, z1))
        metres.append(done + long)
    return tuple(places), tuple(metres)
