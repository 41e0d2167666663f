"""What every ``Scene`` keeps to, whatever stands behind it: functions of a scene, listed in ``CONTRACT``.

Tolerances are those of geometry, not of an implementation: a navigation mesh and a grid may differ by a cell.
"""

from __future__ import annotations

import math
import random
from itertools import pairwise

import pytest

from hitl_ops.worlds.household.layout import footprint
from hitl_ops.worlds.household.scene import Route, Scene
from hitl_ops.worlds.household.world import STEP_LENGTH

CLOSE = 0.3
"""Metres that a route may begin or end beside what was asked for: where nobody can stand, the nearest place counts."""
Place = tuple[float, float]


def everything_open(scene: Scene) -> int:
    return (1 << len(scene.description.doors)) - 1


def places(scene: Scene) -> list[Place]:
    """Places agents stand at: spawns, and before furniture."""
    return [*scene.description.spawns, *(place for piece in scene.description.furniture for place in piece.access)]


def door_sides(scene: Scene, index: int, away: float) -> tuple[Place, Place]:
    """Two places on either side of a door's middle."""
    door = scene.description.doors[index]
    (x0, z0), (x1, z1) = door.start, door.end
    long = math.dist(door.start, door.end)
    nx, nz = -(z1 - z0) / long * away, (x1 - x0) / long * away
    x, z = (x0 + x1) / 2, (z0 + z1) / 2
    return (x + nx, z + nz), (x - nx, z - nz)


def in_room(scene: Scene, place: Place, name: str) -> bool:
    x0, z0, x1, z1 = next(room.bounds for room in scene.description.rooms if room.name == name)
    return x0 - 1e-6 <= place[0] <= x1 + 1e-6 and z0 - 1e-6 <= place[1] <= z1 + 1e-6


def anchors_are_furniture_then_floors(scene: Scene) -> None:
    home = scene.description
    assert scene.anchors == (*(f.name for f in home.furniture), *(f"floor_{r.name}" for r in home.rooms))
    assert len(set(scene.anchors)) == len(scene.anchors)
    assert type(home).model_validate_json(home.model_dump_json()) == home


def _is_walkable(scene: Scene, route: Route) -> None:
    assert len(route.points) == len(route.lengths) >= 1
    assert route.lengths[0] == 0
    for (here, there), (walked, further) in zip(pairwise(route.points), pairwise(route.lengths), strict=True):
        assert further - walked == pytest.approx(math.dist(here, there), abs=1e-4)
        assert scene.line_of_sight(here, there, everything_open(scene)), f"through a wall: {here} to {there}"
    assert route.lengths[-1] >= math.dist(route.points[0], route.points[-1]) - 1e-4


def routes_lead_to_everything(scene: Scene) -> None:
    access = {piece.name: piece.access for piece in scene.description.furniture}
    rooms = [room.name for room in scene.description.rooms]
    for start in scene.description.spawns:
        for target in (*scene.anchors, *rooms):
            route = scene.route(start, target)
            assert route is not None, f"no way from {start} to {target}"
            _is_walkable(scene, route)
            assert math.dist(route.points[0], start) <= CLOSE
            end = route.points[-1]
            if target in access:
                assert min(math.dist(end, place) for place in access[target]) <= CLOSE
            else:
                assert scene.room_at(*end) == target.removeprefix("floor_")


def routes_lead_to_places_and_back(scene: Scene) -> None:
    rng = random.Random(1)
    for _ in range(40):
        start, end = rng.choice(places(scene)), rng.choice(places(scene))
        there, back = scene.route(start, end), scene.route(end, start)
        assert there is not None and back is not None
        _is_walkable(scene, there)
        assert math.dist(there.points[-1], end) <= CLOSE
        assert there.lengths[-1] == pytest.approx(back.lengths[-1], rel=0.05, abs=2 * CLOSE)


def routes_do_not_change(scene: Scene) -> None:
    starts = places(scene)[:10]
    first = [scene.route(start, target) for start in starts for target in scene.anchors]
    assert first == [scene.route(start, target) for start in starts for target in scene.anchors]


def unknown_names_are_key_errors(scene: Scene) -> None:
    start = scene.description.spawns[0]
    for name in ("altar_1", "", "floor_crypt_1"):
        with pytest.raises(KeyError):
            scene.route(start, name)
        with pytest.raises(KeyError):
            scene.slots(name, "on")


def steps_are_no_longer_than_asked(scene: Scene) -> None:
    rng = random.Random(2)
    for start in scene.description.spawns:
        assert scene.slide(*start, 0.0, 0.0) == pytest.approx(start, abs=1e-4)
        x, z = start
        walked = 0.0
        for _ in range(200):
            angle = rng.uniform(0, math.tau)
            step = (math.cos(angle) * STEP_LENGTH, math.sin(angle) * STEP_LENGTH)
            nx, nz = scene.slide(x, z, *step)
            assert math.dist((x, z), (nx, nz)) <= STEP_LENGTH + 1e-3
            walked += math.dist((x, z), (nx, nz))
            x, z = nx, nz
        assert walked > 100 * STEP_LENGTH, "stuck where agents begin"
        assert scene.route((x, z), scene.anchors[0]) is not None, "slid to where no way leads from"


def walls_stop_steps(scene: Scene) -> None:
    """Pushing on in one direction leaves nobody outside, nor beyond a wall."""
    for start in scene.description.spawns:
        for quarter in range(8):
            dx = math.cos(quarter * math.pi / 4) * STEP_LENGTH
            dz = math.sin(quarter * math.pi / 4) * STEP_LENGTH
            x, z = start
            for _ in range(600):
                nx, nz = scene.slide(x, z, dx, dz)
                if (nx, nz) == (x, z):
                    break
                assert scene.line_of_sight((x, z), (nx, nz), everything_open(scene))
                x, z = nx, nz
            assert in_room(scene, (x, z), scene.room_at(x, z)), "outside the home"


def closed_doors_hide(scene: Scene) -> None:
    for index, door in enumerate(scene.description.doors):
        a, b = door_sides(scene, index, 0.4)
        others = everything_open(scene) & ~(1 << index)
        assert not scene.line_of_sight(a, b, others), f"through the closed {door.name}"
        assert not scene.line_of_sight(a, b, 0)
        assert scene.line_of_sight(a, b, 1 << index), f"not through the open {door.name}"


def sight_is_mutual(scene: Scene) -> None:
    rng = random.Random(3)
    for _ in range(100):
        a, b = rng.choice(places(scene)), rng.choice(places(scene))
        doors = rng.getrandbits(len(scene.description.doors)) if scene.description.doors else 0
        assert scene.line_of_sight(a, b, doors) == scene.line_of_sight(b, a, doors)
        assert scene.line_of_sight(a, a, doors)


def open_doors_show_more(scene: Scene) -> None:
    rng = random.Random(4)
    more = 0
    for place in places(scene):
        doors = rng.getrandbits(max(1, len(scene.description.doors))) & everything_open(scene)
        closed, some, every = (scene.seen_from(*place, mask) for mask in (0, doors, everything_open(scene)))
        assert closed & ~some == 0 and some & ~every == 0, "opening a door hid something"
        assert every >> len(scene.anchors) == 0
        more += closed != every
    assert more or not scene.description.doors, "no door makes any difference"


def what_one_stands_before_is_seen(scene: Scene) -> None:
    for bit, piece in enumerate(scene.description.furniture):
        for place in piece.access:
            assert scene.seen_from(*place, everything_open(scene)) >> bit & 1, f"{piece.name} from {place}"


def the_floor_one_stands_on_is_seen(scene: Scene) -> None:
    for room in scene.description.rooms:
        route = scene.route(scene.description.spawns[0], room.name)
        assert route is not None
        bit = scene.anchors.index(f"floor_{room.name}")
        assert scene.seen_from(*route.points[-1], 0) >> bit & 1
        assert scene.room_at(*route.points[-1]) == room.name


def doors_open_for_who_stands_there(scene: Scene) -> None:
    doors = scene.description.doors
    middles = [((door.start[0] + door.end[0]) / 2, (door.start[1] + door.end[1]) / 2) for door in doors]
    for index, middle in enumerate(middles):
        assert scene.doors_at(*middle) >> index & 1, f"{doors[index].name} stays shut"
    for place in places(scene):
        mask = scene.doors_at(*place)
        for index, middle in enumerate(middles):
            if math.dist(place, middle) > 1.5:
                assert not mask >> index & 1, f"{doors[index].name} opens from {math.dist(place, middle):.1f} m"
        assert mask >> len(doors) == 0


def ways_lead_through_doors_that_open(scene: Scene) -> None:
    """Whoever walks a route opens the doors it passes: no leg of it stays behind a closed one."""
    for start in scene.description.spawns:
        for room in scene.description.rooms:
            route = scene.route(start, room.name)
            assert route is not None
            doors = scene.doors_at(*route.points[0])
            for here, there in pairwise(route.points):
                doors |= scene.doors_at(*there)
                assert scene.line_of_sight(here, there, doors), f"a closed door between {here} and {there}"


def furniture_is_in_its_room(scene: Scene) -> None:
    for piece in scene.description.furniture:
        for place in piece.access:
            assert scene.room_at(*place) == piece.room
    assert scene.room_at(-1000.0, 1000.0) in {room.name for room in scene.description.rooms}


def slots_are_where_they_belong(scene: Scene) -> None:
    count = 0
    for piece in scene.description.furniture:
        x0, z0, x1, z1 = footprint(piece.position, piece.size, piece.yaw)
        for relation, described in (("on", piece.on_slots), ("within", piece.within_slots)):
            slots = scene.slots(piece.name, relation)
            assert len(slots) == len(described)
            for (x, y, z), wanted in zip(slots, described, strict=True):
                assert (x, y, z) == pytest.approx(wanted, abs=0.02)
                assert x0 - 0.01 <= x <= x1 + 0.01 and z0 - 0.01 <= z <= z1 + 0.01 and 0 <= y < 2.5
                count += 1
    for room in scene.description.rooms:
        for x, y, z in scene.slots(f"floor_{room.name}", "floor"):
            assert in_room(scene, (x, z), room.name) and y == pytest.approx(0, abs=0.02)
            count += 1
    assert count > 50


CONTRACT = (
    anchors_are_furniture_then_floors,
    routes_lead_to_everything,
    routes_lead_to_places_and_back,
    routes_do_not_change,
    unknown_names_are_key_errors,
    steps_are_no_longer_than_asked,
    walls_stop_steps,
    closed_doors_hide,
    sight_is_mutual,
    open_doors_show_more,
    what_one_stands_before_is_seen,
    the_floor_one_stands_on_is_seen,
    doors_open_for_who_stands_there,
    ways_lead_through_doors_that_open,
    furniture_is_in_its_room,
    slots_are_where_they_belong,
)
