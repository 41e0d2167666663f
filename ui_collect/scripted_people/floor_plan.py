"""Ways through a home, found on the page's own description of it: the grid people's feet are held to."""

from __future__ import annotations

import math

import numpy as np

from hitl_ops.worlds.household.grid import CELL, ShortestWays
from hitl_ops.worlds.household.layout import floor_grid, room_middle
from hitl_ops.worlds.household.scene_description import SceneDescription

Place = tuple[float, float]
_SAMPLE = CELL / 4
_MARGIN = 0.4 * CELL
_BESIDE = ((_MARGIN, 0.0), (-_MARGIN, 0.0), (0.0, _MARGIN), (0.0, -_MARGIN))
"""Nobody walks along a line exactly: there must be a little room on every side of it."""


class FloorPlan:
    """Where things stand, and how one gets there.

    Args:
        scene: the home, as the page got it.
    """

    def __init__(self, scene: SceneDescription) -> None:
        self.scene = scene
        self.furniture = {piece.name: piece for piece in scene.furniture}
        self.rooms = {room.name: room for room in scene.rooms}
        self.grid = floor_grid(scene.rooms, scene.walls, scene.doors, scene.furniture)
        self._ways = ShortestWays(self.grid)
        self._goals = {
            piece.name: tuple(sorted({self.grid.cell(*place) for place in piece.access})) for piece in scene.furniture
        }
        for room in scene.rooms:
            self._goals[room.name] = (self.grid.cell(*room_middle(self.grid, room)),)

    def way(self, start: Place, target: str) -> list[Place] | None:
        """Corners of the shortest way to a piece of furniture, a room or a floor, the start left out.

        Returns:
            None where there is none, or no such target; the last corner is where one stands to act.
        """
        goals = self._goals.get(target.removeprefix("floor_"))
        first = self._free_cell(start)
        cells = self._ways.way(first, goals) if goals else None
        return None if cells is None else self._corners([start, *(self.grid.center(cell) for cell in cells)])

    def room_at(self, place: Place) -> str:
        """The room a place is in; the nearest one in a doorway."""

        def outside(bounds: tuple[float, float, float, float]) -> float:
            x0, z0, x1, z1 = bounds
            return math.hypot(max(x0 - place[0], place[0] - x1, 0.0), max(z0 - place[1], place[1] - z1, 0.0))

        return min(self.scene.rooms, key=lambda room: outside(room.bounds)).name

    def _free_cell(self, place: Place) -> int:
        """The cell at a place, or the nearest one to stand on: feet may slide along the edge of a cell."""
        grid = self.grid
        cell = grid.cell(*place)
        if grid.free.flat[cell]:
            return cell
        free = np.flatnonzero(grid.free.ravel()).tolist()
        return min(free, key=lambda other: math.dist(grid.center(other), place))

    def _corners(self, places: list[Place]) -> list[Place]:
        """Leave out every place that one can walk past in a straight line."""
        corners: list[Place] = []
        here = 0
        while here < len(places) - 1:
            there = here + 1
            while there + 1 < len(places) and self._straight(places[here], places[there + 1]):
                there += 1
            corners.append(places[there])
            here = there
        return corners or places[-1:]

    def _straight(self, a: Place, b: Place) -> bool:
        steps = max(1, math.ceil(math.dist(a, b) / _SAMPLE))
        for step in range(steps + 1):
            x = a[0] + (b[0] - a[0]) * step / steps
            z = a[1] + (b[1] - a[1]) * step / steps
            if not all(self.grid.is_free(x + dx, z + dz) for dx, dz in _BESIDE):
                return False
        return True
