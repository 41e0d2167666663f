"""The default scene: a generated home as a grid, in NumPy, with sight precomputed per cell."""

from __future__ import annotations

import functools
import itertools
import math

import numpy as np
from numpy.typing import NDArray

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.played_scene import PlayedScene
from hitl_ops.worlds.household.grid import Grid, ShortestWays
from hitl_ops.worlds.household.layout import floor_grid, generate_home, room_middle
from hitl_ops.worlds.household.scene import Route
from hitl_ops.worlds.household.scene_description import SceneDescription, Vec3

SIGHT_RANGE = 9.0
"""How far agents recognise things, metres."""
DOOR_PUSH = 0.7
"""A closed door opens when somebody comes this close, metres."""


class KinematicScene:
    """Geometry of a generated home; implements ``scene.Scene``."""

    def __init__(self, description: SceneDescription) -> None:
        self.played_scene = PlayedScene("kinematic", description.scene_id)
        self.description = description
        self._furniture = {piece.name: piece for piece in description.furniture}
        self._rooms = {room.name: room for room in description.rooms}
        self.grid: Grid = floor_grid(description.rooms, description.walls, description.doors, description.furniture)
        self.anchors = tuple([*self._furniture, *(f"floor_{name}" for name in self._rooms)])
        self._ways = ShortestWays(self.grid)
        self._goals: dict[str, tuple[int, ...]] = {}
        self._routes: dict[tuple[int, tuple[int, ...]], Route | None] = {}
        for piece in description.furniture:
            self._goals[piece.name] = tuple(sorted({self.grid.cell(*place) for place in piece.access}))
        for room in description.rooms:
            middle = self.grid.cell(*room_middle(self.grid, room))
            self._goals[room.name] = self._goals[f"floor_{room.name}"] = (middle,)
        self._sight = self._precompute_sight()
        self._doors_at = self._precompute_doors()

    # --- ways ---------------------------------------------------------------------------------------------

    def route(self, start: tuple[float, float], target: str | tuple[float, float]) -> Route | None:
        """See ``Scene.route``. Routes between cells are kept: homes are walked many thousand times."""
        goals = self._goals[target] if isinstance(target, str) else (self.grid.cell(*target),)
        first = self.grid.cell(*start)
        key = (first, goals)
        if key not in self._routes:
            cells = self._ways.way(first, goals)
            self._routes[key] = None if cells is None else self._route_of(cells)
        return self._routes[key]

    def _route_of(self, cells: list[int]) -> Route:
        points = [self.grid.center(cell) for cell in cells]
        lengths = [0.0]
        for here, there in itertools.pairwise(points):
            lengths.append(lengths[-1] + math.dist(here, there))
        return Route(tuple(points), tuple(lengths))

    def slide(self, x: float, z: float, dx: float, dz: float) -> tuple[float, float]:
        """See ``Scene.slide``."""
        if self.grid.is_free(x + dx, z + dz):
            return x + dx, z + dz
        if self.grid.is_free(x + dx, z):
            return x + dx, z
        if self.grid.is_free(x, z + dz):
            return x, z + dz
        return x, z

    def room_at(self, x: float, z: float) -> str:
        """See ``Scene.room_at``."""
        for room in self.description.rooms:
            x0, z0, x1, z1 = room.bounds
            if x0 <= x <= x1 and z0 <= z <= z1:
                return room.name
        return min(
            self.description.rooms,
            key=lambda room: math.dist(
                (x, z), ((room.bounds[0] + room.bounds[2]) / 2, (room.bounds[1] + room.bounds[3]) / 2)
            ),
        ).name

    # --- sight --------------------------------------------------------------------------------------------

    def seen_from(self, x: float, z: float, doors_open: int) -> int:
        """See ``Scene.seen_from``."""
        seen, gated = self._sight[self.grid.cell(x, z)]
        for doors, anchors in gated:
            if doors & doors_open == doors:
                seen |= anchors
        return seen

    def doors_at(self, x: float, z: float) -> int:
        """See ``Scene.doors_at``."""
        return self._doors_at[self.grid.cell(x, z)]

    def line_of_sight(self, a: tuple[float, float], b: tuple[float, float], doors_open: int) -> bool:
        """See ``Scene.line_of_sight``."""
        walls, doors = self._segments
        if any(_parts(a, b, wall) for wall in walls):
            return False
        return all(doors_open >> index & 1 for index, door in enumerate(doors) if _parts(a, b, door))

    @functools.cached_property
    def _segments(self) -> tuple[list[tuple[float, ...]], list[tuple[float, ...]]]:
        """The barriers as plain numbers: for a single line arrays cost ten times the arithmetic."""
        walls, doors = self._barriers
        return [tuple(row) for row in walls.tolist()], [tuple(row) for row in doors.tolist()]

    @functools.cached_property
    def _barriers(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        walls = np.array([(*wall.start, *wall.end) for wall in self.description.walls], dtype=float).reshape(-1, 4)
        doors = np.array([(*door.start, *door.end) for door in self.description.doors], dtype=float).reshape(-1, 4)
        return walls, doors

    def _anchor_points(self) -> NDArray[np.float64]:
        points = [(piece.position[0], piece.position[2]) for piece in self.description.furniture]
        points += [self.grid.center(self._goals[name][0]) for name in self.anchors[len(points) :]]
        return np.array(points, dtype=float)

    def _precompute_sight(self) -> list[tuple[int, tuple[tuple[int, int], ...]]]:
        """For every cell: the anchors always seen, and those seen when certain doors stand open."""
        cells = np.flatnonzero(self.grid.free.ravel())
        places = np.array([self.grid.center(cell) for cell in cells.tolist()])
        anchors = self._anchor_points()
        walls, doors = self._barriers
        starts = np.repeat(places, len(anchors), axis=0)
        ends = np.tile(anchors, (len(places), 1))
        shape = (len(places), len(anchors))
        in_range = (np.linalg.norm(starts - ends, axis=1) <= SIGHT_RANGE).reshape(shape)
        blocked = np.zeros(len(starts), dtype=bool)
        for wall in walls:
            blocked |= _crosses(starts, ends, wall)
        clear = in_range & ~blocked.reshape(shape)
        behind = np.zeros(shape, dtype=np.int64)
        for index, door in enumerate(doors):
            behind |= _crosses(starts, ends, door).reshape(shape).astype(np.int64) << index
        sight: list[tuple[int, tuple[tuple[int, int], ...]]] = [(0, ())] * self.grid.free.size
        for row, cell in enumerate(cells.tolist()):
            by_doors: dict[int, int] = {}
            for anchor in np.flatnonzero(clear[row]).tolist():
                needed = int(behind[row, anchor])
                by_doors[needed] = by_doors.get(needed, 0) | (1 << anchor)
            always = by_doors.pop(0, 0)
            sight[cell] = (always, tuple(sorted(by_doors.items())))
        return sight

    def _precompute_doors(self) -> list[int]:
        masks = [0] * self.grid.free.size
        for cell in np.flatnonzero(self.grid.free.ravel()).tolist():
            center = self.grid.center(cell)
            for index, door in enumerate(self.description.doors):
                middle = ((door.start[0] + door.end[0]) / 2, (door.start[1] + door.end[1]) / 2)
                if math.dist(center, middle) <= DOOR_PUSH:
                    masks[cell] |= 1 << index
        return masks

    # --- places -------------------------------------------------------------------------------------------

    def slots(self, parent: str, relation: str) -> tuple[Vec3, ...]:
        """See ``Scene.slots``."""
        if parent.startswith("floor_"):
            return self.description.floor_slots[parent.removeprefix("floor_")]
        piece = self._furniture[parent]
        return piece.within_slots if relation == "within" else piece.on_slots


def _crosses(starts: NDArray[np.float64], ends: NDArray[np.float64], barrier: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether each segment starts[i]–ends[i] crosses one barrier (x0, z0, x1, z1); bool [n]."""
    ax, az = starts[:, 0], starts[:, 1]
    bx, bz = ends[:, 0], ends[:, 1]
    cx, cz, dx, dz = barrier
    side_c = (bx - ax) * (cz - az) - (bz - az) * (cx - ax)
    side_d = (bx - ax) * (dz - az) - (bz - az) * (dx - ax)
    side_a = (dx - cx) * (az - cz) - (dz - cz) * (ax - cx)
    side_b = (dx - cx) * (bz - cz) - (dz - cz) * (bx - cx)
    return (side_c * side_d < 0) & (side_a * side_b < 0)


def _parts(a: tuple[float, float], b: tuple[float, float], barrier: tuple[float, ...]) -> bool:
    """Whether one segment a–b crosses one barrier: ``_crosses``, number by number."""
    ax, az = a
    bx, bz = b
    cx, cz, dx, dz = barrier
    side_c = (bx - ax) * (cz - az) - (bz - az) * (cx - ax)
    side_d = (bx - ax) * (dz - az) - (bz - az) * (dx - ax)
    if side_c * side_d >= 0:
        return False
    side_a = (dx - cx) * (az - cz) - (dz - cz) * (ax - cx)
    side_b = (dx - cx) * (bz - cz) - (dz - cz) * (bx - cx)
    return side_a * side_b < 0


def home_of(scene_id: str) -> SceneDescription:
    """The generated home of a name.

    Raises:
        UserError: the scene is not one of ours (a PARTNR episode's HSSD scene, say), naming the missing asset.
    """
    if not is_home(scene_id):
        raise UserError(
            f"scene asset '{scene_id}' is missing",
            "it is no generated Flywheel home; episodes of other scene data sets need the habitat scene and its assets",
        )
    _, split, number = scene_id.split("_")
    return generate_home(split, int(number))


def is_home(scene_id: str) -> bool:
    """Whether a scene's name is that of a generated home."""
    parts = scene_id.split("_")
    return len(parts) == 3 and parts[0] == "flywheel" and parts[1] in ("train", "val", "test") and parts[2].isdigit()


@functools.lru_cache(maxsize=64)
def load_scene(scene_id: str) -> KinematicScene:
    """The scene an episode names, kept for the next episode in the same home.

    Raises:
        UserError: see ``home_of``.
    """
    return KinematicScene(home_of(scene_id))
