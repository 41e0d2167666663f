"""Generated homes: rooms, doors and furniture from a seed.

The plan is cut by recursive halving, neighbouring rooms get doorways along a random spanning tree (and a few
more), and furniture is set along the walls as long as everything stays reachable.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from numpy.random import Generator

from hitl_ops.worlds.household.catalog import FURNITURE, ROOMS, FurnitureKind
from hitl_ops.worlds.household.furniture_parts import furniture_parts
from hitl_ops.worlds.household.grid import AGENT_RADIUS, CELL, Grid, regions
from hitl_ops.worlds.household.scene_description import Door, Furniture, Room, SceneDescription, Vec3, Wall

DOOR_WIDTH = 1.0
CLOSED_DOOR_SHARE = 0.3
SLOT_SPACING = 0.28
"""Distance between neighbouring places on a surface: within PARTNR's 0.5 m for 'next to'."""
REACH = 2.0
"""How far an agent reaches, metres (PARTNR)."""
WALL_MARGIN = 0.06
_ESSENTIAL = ("kitchen", "living_room", "bedroom", "bathroom")
_OPTIONAL = ("office", "dining_room", "laundry_room", "hallway", "playroom", "garage", "bedroom")

Rectangle = tuple[float, float, float, float]


@dataclass
class _Plan:
    """A home while it is being built."""

    rng: Generator
    rooms: list[Room] = field(default_factory=list)
    doors: list[Door] = field(default_factory=list)
    walls: list[Wall] = field(default_factory=list)
    furniture: list[Furniture] = field(default_factory=list)


def scene_id(split: str, number: int) -> str:
    """Name of a generated home: ``flywheel_train_003``."""
    return f"flywheel_{split}_{number:03d}"


def scene_seed(split: str, number: int) -> int:
    """Seed of a generated home; no two splits share one."""
    return {"train": 10_000, "val": 20_000, "test": 30_000}[split] + number


def generate_home(split: str, number: int) -> SceneDescription:
    """The ``number``-th home of a split, always the same one.

    Returns:
        A home of 4 to 8 rooms in which every piece of furniture can be reached from every room.
    """
    seed = scene_seed(split, number)
    for attempt in range(50):
        rng = np.random.default_rng([seed, attempt])
        plan = _Plan(rng)
        if not _cut_rooms(plan):
            continue
        if not _join_rooms(plan):
            continue
        grid = floor_grid(plan.rooms, plan.walls, plan.doors, ())
        grid = _furnish(plan, grid)
        if _is_sound(plan, grid):
            return _describe(plan, grid, split, number, seed)
    raise AssertionError(f"no sound home for seed {seed}")  # pragma: no cover - seeds are tested


# --- rooms -----------------------------------------------------------------------------------------------------


def _cut_rooms(plan: _Plan) -> bool:
    rng = plan.rng
    count = int(rng.integers(4, 9))
    area = count * rng.uniform(13.0, 17.0)
    ratio = rng.uniform(0.75, 1.35)
    width = round(math.sqrt(area * ratio) / CELL) * CELL
    depth = round(math.sqrt(area / ratio) / CELL) * CELL
    pieces: list[Rectangle] = [(0.0, 0.0, width, depth)]
    while len(pieces) < count:
        pieces.sort(key=lambda r: (r[2] - r[0]) * (r[3] - r[1]))
        x0, z0, x1, z1 = pieces.pop()
        along_x = (x1 - x0) >= (z1 - z0)
        length = (x1 - x0) if along_x else (z1 - z0)
        if length < 5.6:
            return False
        cut = round(length * rng.uniform(0.42, 0.58) / CELL) * CELL
        if along_x:
            pieces += [(x0, z0, x0 + cut, z1), (x0 + cut, z0, x1, z1)]
        else:
            pieces += [(x0, z0, x1, z0 + cut), (x0, z0 + cut, x1, z1)]
    kinds = [*_ESSENTIAL, *rng.permutation(_OPTIONAL)[: count - len(_ESSENTIAL)].tolist()]
    # Living rooms and kitchens get the larger pieces, bathrooms and hallways the smaller.
    order = {
        "living_room": 0,
        "kitchen": 1,
        "dining_room": 2,
        "bedroom": 3,
        "bathroom": 9,
        "hallway": 8,
        "laundry_room": 8,
    }
    kinds.sort(key=lambda kind: (order.get(kind, 5), rng.random()))
    pieces.sort(key=lambda r: -(r[2] - r[0]) * (r[3] - r[1]))
    numbers: Counter[str] = Counter()
    for kind, bounds in zip(kinds, pieces, strict=True):
        numbers[kind] += 1
        plan.rooms.append(
            Room(name=f"{kind}_{numbers[kind]}", kind=kind, bounds=bounds, floor_color=ROOMS[kind].floor_color)
        )
    plan.rooms.sort(key=lambda room: room.name)
    return True


def _shared_edge(a: Room, b: Room) -> tuple[tuple[float, float], tuple[float, float]] | None:
    """The stretch of wall two rooms share, or None."""
    ax0, az0, ax1, az1 = a.bounds
    bx0, bz0, bx1, bz1 = b.bounds
    for x_a, x_b in ((ax1, bx0), (ax0, bx1)):
        if abs(x_a - x_b) < 1e-6:
            low, high = max(az0, bz0), min(az1, bz1)
            if high - low > 0.05:
                return (x_a, low), (x_a, high)
    for z_a, z_b in ((az1, bz0), (az0, bz1)):
        if abs(z_a - z_b) < 1e-6:
            low, high = max(ax0, bx0), min(ax1, bx1)
            if high - low > 0.05:
                return (low, z_a), (high, z_a)
    return None


def _join_rooms(plan: _Plan) -> bool:
    rng = plan.rng
    edges = []
    for i, a in enumerate(plan.rooms):
        for b in plan.rooms[i + 1 :]:
            edge = _shared_edge(a, b)
            if edge is not None:
                edges.append((a, b, edge))
    group = {room.name: room.name for room in plan.rooms}

    def root(name: str) -> str:
        while group[name] != name:
            name = group[name]
        return name

    for position in rng.permutation(len(edges)):
        a, b, (start, end) = edges[position]
        length = math.dist(start, end)
        wide_enough = length >= DOOR_WIDTH + 0.6
        joins = root(a.name) != root(b.name)
        if not wide_enough or not (joins or rng.random() < 0.25):
            _add_wall(plan, start, end)
            continue
        group[root(a.name)] = root(b.name)
        offset = rng.uniform(0.3, length - DOOR_WIDTH - 0.3)
        along = ((end[0] - start[0]) / length, (end[1] - start[1]) / length)
        first = (start[0] + along[0] * offset, start[1] + along[1] * offset)
        second = (first[0] + along[0] * DOOR_WIDTH, first[1] + along[1] * DOOR_WIDTH)
        _add_wall(plan, start, first)
        _add_wall(plan, second, end)
        plan.doors.append(
            Door(
                name=f"door_{len(plan.doors) + 1}",
                rooms=(a.name, b.name),
                start=first,
                end=second,
                open_at_start=bool(rng.random() >= CLOSED_DOOR_SHARE),
            )
        )
    x0 = min(room.bounds[0] for room in plan.rooms)
    z0 = min(room.bounds[1] for room in plan.rooms)
    x1 = max(room.bounds[2] for room in plan.rooms)
    z1 = max(room.bounds[3] for room in plan.rooms)
    for start, end in (((x0, z0), (x1, z0)), ((x1, z0), (x1, z1)), ((x1, z1), (x0, z1)), ((x0, z1), (x0, z0))):
        _add_wall(plan, start, end)
    return len({root(room.name) for room in plan.rooms}) == 1


def _add_wall(plan: _Plan, start: tuple[float, float], end: tuple[float, float]) -> None:
    if math.dist(start, end) > 0.02:
        plan.walls.append(Wall(start=start, end=end))


# --- floor -----------------------------------------------------------------------------------------------------


def floor_grid(
    rooms: list[Room] | tuple[Room, ...],
    walls: list[Wall] | tuple[Wall, ...],
    doors: list[Door] | tuple[Door, ...],
    furniture: list[Furniture] | tuple[Furniture, ...],
) -> Grid:
    """The cells an agent may stand on: inside a room or doorway, clear of walls and furniture."""
    x0 = min(room.bounds[0] for room in rooms)
    z0 = min(room.bounds[1] for room in rooms)
    x1 = max(room.bounds[2] for room in rooms)
    z1 = max(room.bounds[3] for room in rooms)
    shape = (round((z1 - z0) / CELL), round((x1 - x0) / CELL))
    grid = Grid(x0, z0, np.ones(shape, dtype=bool))
    for wall in walls:
        half = wall.thickness / 2
        grid.block(
            min(wall.start[0], wall.end[0]) - half,
            min(wall.start[1], wall.end[1]) - half,
            max(wall.start[0], wall.end[0]) + half,
            max(wall.start[1], wall.end[1]) + half,
            margin=AGENT_RADIUS,
        )
    for piece in furniture:
        grid.block(*footprint(piece.position, piece.size, piece.yaw))
    return grid


def footprint(position: Vec3, size: Vec3, yaw: float) -> Rectangle:
    """The rectangle (x0, z0, x1, z1) a piece of furniture covers; yaw is a multiple of 90 degrees."""
    turned = round(yaw / (math.pi / 2)) % 2 == 1
    half_x, half_z = (size[2] / 2, size[0] / 2) if turned else (size[0] / 2, size[2] / 2)
    return (position[0] - half_x, position[2] - half_z, position[0] + half_x, position[2] + half_z)


# --- furniture -------------------------------------------------------------------------------------------------


def _furnish(plan: _Plan, grid: Grid) -> Grid:
    numbers: Counter[str] = Counter()
    for room in plan.rooms:
        kinds = ROOMS[room.kind]
        optional = [
            str(kind) for kind in plan.rng.permutation(kinds.maybe)[: int(plan.rng.integers(2, len(kinds.maybe) + 1))]
        ]
        for name in [*kinds.always, *optional]:
            placed = _place(plan, grid, room, FURNITURE[name])
            if placed is None:
                continue
            position, yaw = placed
            # A name says where the piece stands, as people do: kitchen_cabinet_1.
            full_name = f"{room.kind}_{name}"
            numbers[full_name] += 1
            piece = _piece(f"{full_name}_{numbers[full_name]}", FURNITURE[name], room, position, yaw)
            plan.furniture.append(piece)
            grid.block(*footprint(piece.position, piece.size, piece.yaw))
    return grid


def _place(plan: _Plan, grid: Grid, room: Room, kind: FurnitureKind) -> tuple[Vec3, float] | None:
    """Find a place along a wall that keeps doorways free and everything reachable."""
    rng = plan.rng
    x0, z0, x1, z1 = room.bounds
    width, _, depth = kind.size
    for _ in range(24):
        side = int(rng.integers(4))
        yaw = (0.0, math.pi / 2, math.pi, 3 * math.pi / 2)[side]
        # The front looks away from the wall: yaw 0 stands at the wall of smallest z and faces +z.
        span = (x1 - x0) if side % 2 == 0 else (z1 - z0)
        if span < width + 0.3:
            continue
        offset = float(rng.uniform(width / 2 + 0.12, span - width / 2 - 0.12))
        gap = WALL_MARGIN + depth / 2
        position: Vec3 = (
            (x0 + offset, 0.0, z0 + gap),
            (x0 + gap, 0.0, z0 + offset),
            (x0 + offset, 0.0, z1 - gap),
            (x1 - gap, 0.0, z0 + offset),
        )[side]
        rectangle = footprint(position, kind.size, yaw)
        if _is_clear(plan, room, rectangle) and _keeps_ways(plan, grid, room, rectangle):
            return position, yaw
    return None


def _is_clear(plan: _Plan, room: Room, rectangle: Rectangle) -> bool:
    rx0, rz0, rx1, rz1 = rectangle
    for piece in plan.furniture:
        if piece.room == room.name:
            px0, pz0, px1, pz1 = footprint(piece.position, piece.size, piece.yaw)
            if rx0 < px1 + 0.08 and rx1 > px0 - 0.08 and rz0 < pz1 + 0.08 and rz1 > pz0 - 0.08:
                return False
    for door in plan.doors:
        if room.name in door.rooms:
            clear = 0.75
            dx0, dx1 = sorted((door.start[0], door.end[0]))
            dz0, dz1 = sorted((door.start[1], door.end[1]))
            if rx0 < dx1 + clear and rx1 > dx0 - clear and rz0 < dz1 + clear and rz1 > dz0 - clear:
                return False
    return True


def _keeps_ways(plan: _Plan, grid: Grid, room: Room, rectangle: Rectangle) -> bool:
    """Whether all rooms stay joined and all furniture of the room keeps a place to stand in front."""
    trial = Grid(grid.x0, grid.z0, grid.free.copy())
    before = int(regions(trial.free).max())
    trial.block(*rectangle)
    if int(regions(trial.free).max()) > before:
        return False
    if not _standing_places(trial, rectangle, room):
        return False
    return all(
        _standing_places(trial, footprint(piece.position, piece.size, piece.yaw), room)
        for piece in plan.furniture
        if piece.room == room.name
    )


def _standing_places(grid: Grid, rectangle: Rectangle, room: Room) -> list[tuple[float, float]]:
    """Free cells of a room close to a rectangle, nearest to its middle first (at most three)."""
    room_x0, room_z0, room_x1, room_z1 = room.bounds
    x0, z0, x1, z1 = rectangle
    middle = ((x0 + x1) / 2, (z0 + z1) / 2)
    found = []
    for row in range(grid.rows):
        z = grid.z0 + (row + 0.5) * CELL
        if not z0 - 0.6 < z < z1 + 0.6:
            continue
        for column in range(grid.columns):
            x = grid.x0 + (column + 0.5) * CELL
            inside = room_x0 < x < room_x1 and room_z0 < z < room_z1
            if inside and x0 - 0.6 < x < x1 + 0.6 and grid.free[row, column]:
                found.append((x, z))
    found.sort(key=lambda place: (round(math.dist(place, middle), 6), place))
    return found[:3]


def _piece(name: str, kind: FurnitureKind, room: Room, position: Vec3, yaw: float) -> Furniture:
    width, height, depth = kind.size
    on = _slots(width, depth, [height]) if kind.surface else []
    levels = [0.06] if height < 1.3 else [0.06, height / 2 + 0.03]
    within = _slots(width - 0.1, depth - 0.1, levels) if kind.container else []
    return Furniture(
        name=name,
        kind=kind.kind,
        room=room.name,
        position=position,
        yaw=yaw,
        size=kind.size,
        parts=furniture_parts(kind),
        on_slots=tuple(to_world(slot, position, yaw) for slot in on),
        within_slots=tuple(to_world(slot, position, yaw) for slot in within),
        access=(),
        articulated=kind.container,
        has_faucet=kind.faucet,
        powerable=kind.powerable,
    )


def _slots(width: float, depth: float, levels: list[float]) -> list[Vec3]:
    columns = max(1, int((width - 0.1) / SLOT_SPACING))
    rows = max(1, int((depth - 0.06) / SLOT_SPACING))
    return [
        ((column - (columns - 1) / 2) * SLOT_SPACING, level, (row - (rows - 1) / 2) * SLOT_SPACING)
        for level in levels
        for row in range(rows)
        for column in range(columns)
    ]


def to_world(local: Vec3, position: Vec3, yaw: float) -> Vec3:
    """A point of a piece's own frame in the world's: turned by ``yaw`` about +y, then moved."""
    cosine, sine = math.cos(yaw), math.sin(yaw)
    return (
        round(position[0] + cosine * local[0] + sine * local[2], 4),
        round(position[1] + local[1], 4),
        round(position[2] - sine * local[0] + cosine * local[2], 4),
    )


# --- the finished home -----------------------------------------------------------------------------------------


def _is_sound(plan: _Plan, grid: Grid) -> bool:
    if int(regions(grid.free).max()) != 1:
        return False
    by_room: dict[str, set[str]] = {}
    for piece in plan.furniture:
        by_room.setdefault(piece.room, set()).add(piece.kind)
    return all(set(ROOMS[room.kind].always) <= by_room.get(room.name, set()) for room in plan.rooms)


def _describe(plan: _Plan, grid: Grid, split: str, number: int, seed: int) -> SceneDescription:
    furniture = []
    rooms = {room.name: room for room in plan.rooms}
    for piece in plan.furniture:
        access = tuple(_standing_places(grid, footprint(piece.position, piece.size, piece.yaw), rooms[piece.room]))
        furniture.append(
            piece.model_copy(
                update={
                    "access": access,
                    "on_slots": _reachable(piece.on_slots, access),
                    "within_slots": _reachable(piece.within_slots, access),
                }
            )
        )
    floor_slots = {room.name: _floor_slots(grid, room) for room in plan.rooms}
    spawns = tuple(place for room in plan.rooms for place in [room_middle(grid, room)])
    return SceneDescription(
        scene_id=scene_id(split, number),
        seed=seed,
        split=split,
        rooms=tuple(plan.rooms),
        walls=tuple(plan.walls),
        doors=tuple(plan.doors),
        furniture=tuple(furniture),
        floor_slots=floor_slots,
        spawns=spawns,
    )


def _reachable(slots: tuple[Vec3, ...], access: tuple[tuple[float, float], ...]) -> tuple[Vec3, ...]:
    """Only places every standing place reaches: an agent that has walked there never stands too far off."""
    return tuple(slot for slot in slots if all(math.dist((slot[0], slot[2]), place) <= REACH - 0.2 for place in access))


def room_middle(grid: Grid, room: Room) -> tuple[float, float]:
    """The free cell nearest to a room's middle, (x, z)."""
    x0, z0, x1, z1 = room.bounds
    middle = ((x0 + x1) / 2, (z0 + z1) / 2)
    best = min(
        (
            (math.dist(center, middle), center)
            for cell in np.flatnonzero(grid.free.ravel()).tolist()
            if x0 < (center := grid.center(cell))[0] < x1 and z0 < center[1] < z1
        ),
    )
    return best[1]


def _floor_slots(grid: Grid, room: Room) -> tuple[Vec3, ...]:
    """Up to eight places on the floor around a room's middle, within reach of it."""
    middle = room_middle(grid, room)
    places: list[tuple[float, float]] = []
    x0, z0, x1, z1 = room.bounds
    near = sorted(
        (math.dist(grid.center(cell), middle), grid.center(cell)) for cell in np.flatnonzero(grid.free.ravel()).tolist()
    )
    for distance, (x, z) in near:
        inside = x0 + 0.1 < x < x1 - 0.1 and z0 + 0.1 < z < z1 - 0.1
        if inside and 0.3 < distance <= REACH - 0.3 and all(math.dist((x, z), other) > 0.35 for other in places):
            places.append((x, z))
        if len(places) == 8:
            break
    return tuple((round(x, 4), 0.0, round(z, 4)) for x, z in places)
