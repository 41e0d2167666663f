"""Ways on the page's own floor plan, and keys that lead along them."""

from __future__ import annotations

import math
from collections import deque

import pytest

from hitl_ops.worlds.household.kinematic_scene import load_scene
from hitl_ops.worlds.household.world import Control, HouseholdWorld
from tests.support.plays import small_episode
from ui_collect.keyframes import AgentRow
from ui_collect.scripted_people.floor_plan import FloorPlan
from ui_collect.scripted_people.walking import STILL, Walk

HOMES = ("flywheel_train_000", "flywheel_train_007", "flywheel_val_001")


@pytest.fixture(scope="module", params=HOMES)
def plan(request: pytest.FixtureRequest) -> FloorPlan:
    return FloorPlan(load_scene(request.param).description)


def test_every_piece_of_furniture_and_every_room_can_be_walked_to(plan: FloorPlan) -> None:
    start = plan.scene.spawns[0]
    for name, piece in plan.furniture.items():
        way = plan.way(start, name)
        assert way, name
        assert min(math.dist(way[-1], place) for place in piece.access) < 0.15
    for room in plan.rooms:
        way = plan.way(start, room)
        assert way and plan.room_at(way[-1]) == room
        assert plan.way(start, f"floor_{room}") == way


def test_ways_keep_to_the_floor_and_leave_out_what_lies_straight_ahead(plan: FloorPlan) -> None:
    start = plan.scene.spawns[0]
    for name in plan.furniture:
        way = plan.way(start, name)
        assert way is not None
        places = [start, *way]
        for a, b in zip(places, way, strict=False):
            for step in range(21):
                assert plan.grid.is_free(a[0] + (b[0] - a[0]) * step / 20, a[1] + (b[1] - a[1]) * step / 20)
        cells = load_scene(plan.scene.scene_id).route(start, name)
        assert cells is not None and len(way) < max(4, len(cells.points) / 2)


def test_there_is_no_way_to_what_is_not_there(plan: FloorPlan) -> None:
    assert plan.way(plan.scene.spawns[0], "unicorn_1") is None


@pytest.mark.parametrize("delay", [0, 3])
def test_keys_lead_to_the_goal_though_one_sees_late(delay: int) -> None:
    world = HouseholdWorld(small_episode())
    plan = FloorPlan(world.state.description)
    body = world.state.facts.agents[0]
    for target in ("bedroom_bed_1", "kitchen_fridge_1", *plan.rooms):
        way = plan.way((body.x, body.z), target)
        assert way is not None
        walk = Walk(way)
        seen = deque([(body.x, body.z, body.yaw)], maxlen=delay + 1)
        length = sum(math.dist(a, b) for a, b in zip([(body.x, body.z), *way], way, strict=False))
        for _ in range(round(30 * (length / 1.5 + 2.0 * len(way) + 3))):
            x, z, yaw = seen[0]
            keys = walk.keys(AgentRow(x, z, yaw, None, False, False))
            if walk.arrived:
                break
            world.tick({0: Control(*keys)})
            seen.append((body.x, body.z, body.yaw))
        assert walk.arrived, target
        assert math.dist((body.x, body.z), way[-1]) < 0.45
        assert walk.keys(AgentRow(0, 0, 0, None, False, False)) == STILL
