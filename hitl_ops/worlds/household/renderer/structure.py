"""The shell of a home as solids: floors, ceilings, walls with their doorways, lintels and door leaves."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from hitl_ops.worlds.household.renderer import appearance
from hitl_ops.worlds.household.scene_description import Color, Door, SceneDescription, Vec3, Wall

LEAF_THICKNESS = 0.05
_SLAB = 0.05
_SKIRTING_HEIGHT, _SKIRTING_DEPTH = 0.07, 0.008
_TOUCHING = 0.03
_DEFAULT_HEIGHT = 2.4

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class ShellPiece:
    """A box of the shell, in the world's frame.

    Attributes:
        kind: what it is; leaves are there only while their door is closed.
        center: metres.
        size: extent along its own x, y, z.
        yaw: radians about +y.
        color: red, green, blue.
        door: the leaf's door; "" for everything else.
    """

    kind: str
    center: Vec3
    size: Vec3
    yaw: float
    color: Color
    door: str = ""


def ceiling_height(description: SceneDescription) -> float:
    """Height of the highest wall, metres."""
    return max((wall.height for wall in description.walls), default=_DEFAULT_HEIGHT)


def shell(description: SceneDescription) -> Iterator[ShellPiece]:
    """All pieces of a home's shell.

    Walls may be described with gaps at the doorways or without: doorways are cut out either way, and closed
    above by a lintel.
    """
    top = ceiling_height(description)
    for room in description.rooms:
        x0, z0, x1, z1 = room.bounds
        middle, extent = ((x0 + x1) / 2, (z0 + z1) / 2), (x1 - x0, z1 - z0)
        size = (extent[0], _SLAB, extent[1])
        yield ShellPiece("floor", (middle[0], -_SLAB / 2, middle[1]), size, 0.0, room.floor_color)
        yield ShellPiece("ceiling", (middle[0], top + _SLAB / 2, middle[1]), size, 0.0, appearance.CEILING)
    corners = [point for wall in description.walls for point in (wall.start, wall.end)]
    for wall in description.walls:
        for start, end in solid_stretches(wall.start, wall.end, description.doors):
            lengthened = _to_corner(start, end, wall, corners), _to_corner(end, start, wall, corners)
            yield _upright("wall", *lengthened, 0.0, wall.height, wall.thickness, appearance.WALL)
            thicker = wall.thickness + 2 * _SKIRTING_DEPTH
            yield _upright("skirting", start, end, 0.0, _SKIRTING_HEIGHT, thicker, appearance.SKIRTING)
    thickness = max((wall.thickness for wall in description.walls), default=0.1)
    for door in description.doors:
        if top - door.height > 0.01:
            yield _upright("lintel", door.start, door.end, door.height, top, thickness, appearance.WALL)
        yield _upright("sill", door.start, door.end, -_SLAB, 0.002, thickness, appearance.DOOR_SILL)
        yield from _leaf(door)


def solid_stretches(start: Point, end: Point, doors: tuple[Door, ...]) -> list[tuple[Point, Point]]:
    """What remains of a wall's line once the doorways lying on it are cut out."""
    length = math.dist(start, end)
    if length < 1e-6:
        return []
    along = ((end[0] - start[0]) / length, (end[1] - start[1]) / length)
    gaps = []
    for door in doors:
        offsets = [interval_on(start, along, jamb) for jamb in (door.start, door.end)]
        if all(abs(aside) < _TOUCHING for _, aside in offsets):
            low, high = sorted(min(max(offset, 0.0), length) for offset, _ in offsets)
            gaps.append((low, high))
    stretches, done = [], 0.0
    for low, high in [*sorted(gaps), (length, length)]:
        if low - done > 0.01:
            first, second = ((start[0] + along[0] * s, start[1] + along[1] * s) for s in (done, low))
            stretches.append((first, second))
        done = max(done, high)
    return stretches


def interval_on(start: Point, along: Point, point: Point) -> tuple[float, float]:
    """How far along and how far aside a point lies from a line through ``start`` with unit direction ``along``."""
    dx, dz = point[0] - start[0], point[1] - start[1]
    return dx * along[0] + dz * along[1], dz * along[0] - dx * along[1]


def _to_corner(end: Point, other: Point, wall: Wall, corners: list[Point]) -> Point:
    """A wall's end, moved out by half its thickness where another wall ends too, so that corners close."""
    if end not in (wall.start, wall.end) or sum(math.dist(end, corner) < _TOUCHING for corner in corners) < 2:
        return end
    length = math.dist(end, other)
    stretch = wall.thickness / 2 / length
    return (end[0] + (end[0] - other[0]) * stretch, end[1] + (end[1] - other[1]) * stretch)


def _upright(
    kind: str, start: Point, end: Point, low: float, high: float, thickness: float, color: Color, door: str = ""
) -> ShellPiece:
    center = ((start[0] + end[0]) / 2, (low + high) / 2, (start[1] + end[1]) / 2)
    yaw = math.atan2(-(end[1] - start[1]), end[0] - start[0])
    return ShellPiece(kind, center, (math.dist(start, end), high - low, thickness), yaw, color, door)


def _leaf(door: Door) -> Iterator[ShellPiece]:
    color = appearance.DOOR_LEAF
    yield _upright("leaf", door.start, door.end, 0.0, door.height, LEAF_THICKNESS, color, door.name)
    share = 1 - 0.1 / math.dist(door.start, door.end)
    x, z = (door.start[i] + (door.end[i] - door.start[i]) * share for i in (0, 1))
    yaw = math.atan2(-(door.end[1] - door.start[1]), door.end[0] - door.start[0])
    size = (0.06, 0.06, LEAF_THICKNESS + 0.12)
    yield ShellPiece("leaf", (x, 1.0, z), size, yaw, appearance.DOOR_KNOB, door.name)
