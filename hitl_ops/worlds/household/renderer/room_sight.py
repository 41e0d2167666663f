"""Which rooms a camera can see into: what lies in other rooms need not be drawn.

Rooms are joined by openings: stretches of shared border where no wall stands. A camera sees the room it is in
and, through the part of each opening that lies in its field of view, the rooms behind.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass

from hitl_ops.worlds.household.renderer.camera import Camera
from hitl_ops.worlds.household.renderer.structure import ceiling_height, interval_on, solid_stretches
from hitl_ops.worlds.household.scene_description import Room, SceneDescription, Vec3

ALL_ROOMS = 2**64 - 1
"""The bits of every room."""

_NEAR_OPENING = 0.3  # closer than this, metres, a camera counts as being on both sides
_REACH = 0.15  # a wall belongs to the rooms whose bounds it comes this near, metres
_TOUCHING = 0.03
_FRONT = 1e-3

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Opening:
    """A gap between two rooms: their indices, its ends and the door in it ("" where there is none)."""

    rooms: tuple[int, int]
    start: Point
    end: Point
    door: str


class RoomSight:
    """Sight between the rooms of one home; a set of rooms is an integer with bit i for room i.

    Homes of more than 64 rooms share bits, which draws too much, never too little.
    """

    def __init__(self, description: SceneDescription) -> None:
        self._rooms = description.rooms
        self._bits = {room.name: 1 << (i % 64) for i, room in enumerate(description.rooms)}
        self._doors_at_start = {door.name: door.open_at_start for door in description.doors}
        self.openings = _openings(description)
        self._from_room: list[list[tuple[int, Opening]]] = [[] for _ in description.rooms]
        for opening in self.openings:
            a, b = opening.rooms
            self._from_room[a].append((b, opening))
            self._from_room[b].append((a, opening))

    def room_bit(self, name: str) -> int:
        """The bit of a room; all bits for a name that is no room."""
        return self._bits.get(name, ALL_ROOMS)

    def rooms_at(self, x: float, z: float, reach: float = _TOUCHING) -> int:
        """The rooms that hold a place or are at most ``reach`` metres away; all where there is none."""
        return sum({self._bits[self._rooms[i].name] for i in self._indices_at(x, z, reach)}) or ALL_ROOMS

    def rooms_touching(self, center: Vec3, size: Vec3, yaw: float) -> int:
        """The rooms that an upright box stands in or borders; all where there is none."""
        cosine, sine = abs(math.cos(yaw)), abs(math.sin(yaw))
        half_x, half_z = (cosine * size[0] + sine * size[2]) / 2, (sine * size[0] + cosine * size[2]) / 2
        bits = 0
        for room in self._rooms:
            x0, z0, x1, z1 = room.bounds
            beside_x = center[0] + half_x > x0 - _REACH and center[0] - half_x < x1 + _REACH
            beside_z = center[2] + half_z > z0 - _REACH and center[2] - half_z < z1 + _REACH
            if beside_x and beside_z:
                bits |= self._bits[room.name]
        return bits or ALL_ROOMS

    def visible(self, camera: Camera, width: int, height: int, doors_open: Mapping[str, bool]) -> int:
        """The rooms a pinhole camera may see something of; all for other cameras and outside the home."""
        if camera.extent is not None:
            return ALL_ROOMS
        x, _, z = camera.position
        start = self._indices_at(x, z, 0.0)
        if not start:
            return ALL_ROOMS
        half_angle = _half_angle(camera, width, height)
        eye = _Eye(x, z, math.cos(camera.yaw), -math.sin(camera.yaw))
        bits = 0
        pending = [(room, -1, -half_angle, half_angle) for room in start]
        for room in start:
            for behind, opening in self._from_room[room]:
                if self._is_open(opening, doors_open) and _distance(x, z, opening) < _NEAR_OPENING:
                    pending.append((behind, room, -half_angle, half_angle))
        steps = 0
        while pending:
            room, before, low, high = pending.pop()
            bits |= self._bits[self._rooms[room].name]
            steps += 1
            if steps > 200:  # many openings in view of each other: drawing everything is then cheaper
                return ALL_ROOMS
            for behind, opening in self._from_room[room]:
                if behind == before or not self._is_open(opening, doors_open):
                    continue
                span = eye.span(opening, half_angle)
                if span is not None and span[0] < high and span[1] > low:
                    pending.append((behind, room, max(low, span[0]), min(high, span[1])))
        return bits

    def _is_open(self, opening: Opening, doors_open: Mapping[str, bool]) -> bool:
        return not opening.door or doors_open.get(opening.door, self._doors_at_start[opening.door])

    def _indices_at(self, x: float, z: float, reach: float) -> list[int]:
        return [
            i
            for i, room in enumerate(self._rooms)
            if room.bounds[0] - reach <= x <= room.bounds[2] + reach
            and room.bounds[1] - reach <= z <= room.bounds[3] + reach
        ]


@dataclass(frozen=True, slots=True)
class _Eye:
    """A place on the floor plan and the unit direction (x, z) it looks in."""

    x: float
    z: float
    ahead_x: float
    ahead_z: float

    def span(self, opening: Opening, half_angle: float) -> tuple[float, float] | None:
        """The angles an opening covers, from the direction of sight; None where it is behind the eye."""
        if half_angle >= math.pi:
            return (-math.pi, math.pi)
        (a, a_aside), (b, b_aside) = self._seen(opening.start), self._seen(opening.end)
        if half_angle < math.pi / 2:
            if a < _FRONT and b < _FRONT:
                return None
            if a < _FRONT:
                a, a_aside = _FRONT, a_aside + (b_aside - a_aside) * (_FRONT - a) / (b - a)
            elif b < _FRONT:
                b, b_aside = _FRONT, b_aside + (a_aside - b_aside) * (_FRONT - b) / (a - b)
        elif a < 0 or b < 0:  # a view wider than half a circle: an opening that reaches behind may wrap round
            return (-math.pi, math.pi)
        first, second = math.atan2(a_aside, a), math.atan2(b_aside, b)
        return (first, second) if first < second else (second, first)

    def _seen(self, point: Point) -> tuple[float, float]:
        dx, dz = point[0] - self.x, point[1] - self.z
        return dx * self.ahead_x + dz * self.ahead_z, dz * self.ahead_x - dx * self.ahead_z


def _half_angle(camera: Camera, width: int, height: int) -> float:
    """Half of the angle the view covers on the floor plan; a tilted camera covers more than its field of view."""
    half_width, half_height = camera.half_size(width, height)
    ahead = math.cos(camera.pitch) - half_height * abs(math.sin(camera.pitch))
    return math.atan2(half_width, ahead) if ahead > 0.05 else math.pi


def _distance(x: float, z: float, opening: Opening) -> float:
    (ax, az), (bx, bz) = opening.start, opening.end
    length = math.dist(opening.start, opening.end)
    share = max(0.0, min(1.0, ((x - ax) * (bx - ax) + (z - az) * (bz - az)) / length**2))
    return math.hypot(x - ax - share * (bx - ax), z - az - share * (bz - az))


def _openings(description: SceneDescription) -> tuple[Opening, ...]:
    openings = []
    for i, a in enumerate(description.rooms):
        for j in range(i + 1, len(description.rooms)):
            border = _border(a, description.rooms[j])
            if border is not None:
                openings += [Opening((i, j), *piece) for piece in _unwalled(*border, description)]
    return tuple(openings)


def _border(a: Room, b: Room) -> tuple[Point, Point] | None:
    """The stretch two rooms share, walls of up to 0.25 m between them included."""
    for axis in (0, 1):
        low, high = max(a.bounds[1 - axis], b.bounds[1 - axis]), min(a.bounds[3 - axis], b.bounds[3 - axis])
        if high - low < _TOUCHING:
            continue
        for first, second in ((a, b), (b, a)):
            gap = second.bounds[axis] - first.bounds[axis + 2]
            if -_TOUCHING < gap < 0.25:
                at = first.bounds[axis + 2] + gap / 2
                return ((at, low), (at, high)) if axis == 0 else ((low, at), (high, at))
    return None


def _unwalled(start: Point, end: Point, description: SceneDescription) -> list[tuple[Point, Point, str]]:
    """The stretches of a border that nothing closes, each with the door in it."""
    length = math.dist(start, end)
    along = ((end[0] - start[0]) / length, (end[1] - start[1]) / length)
    cuts = {0.0, length}
    closed: list[tuple[float, float]] = []
    doors: list[tuple[float, float, str]] = []
    top = ceiling_height(description)
    for wall in description.walls:
        if wall.height < top - 0.01:
            continue  # one sees over it
        for stretch in solid_stretches(wall.start, wall.end, description.doors):
            if (span := _span_on(start, along, *stretch)) is not None:
                closed.append(span)
                cuts.update(span)
    for door in description.doors:
        if (span := _span_on(start, along, door.start, door.end)) is not None:
            doors.append((*span, door.name))
            cuts.update(span)
    ordered = sorted(cut for cut in cuts if 0.0 <= cut <= length)
    found = []
    for low, high in itertools.pairwise(ordered):
        middle = (low + high) / 2
        if high - low < 1e-3 or any(a <= middle <= b for a, b in closed):
            continue
        door_names = [name for a, b, name in doors if a <= middle <= b]
        first, second = ((start[0] + along[0] * s, start[1] + along[1] * s) for s in (low, high))
        found.append((first, second, door_names[0] if door_names else ""))
    return found


def _span_on(start: Point, along: Point, a: Point, b: Point) -> tuple[float, float] | None:
    """The interval a stretch covers on a line; None where it does not lie on it."""
    (low, aside_low), (high, aside_high) = (interval_on(start, along, point) for point in (a, b))
    if max(abs(aside_low), abs(aside_high)) > 0.15:
        return None
    return (low, high) if low < high else (high, low)
