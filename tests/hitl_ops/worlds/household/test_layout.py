"""Generated homes: enough of them, none shared, everything in them within reach."""

from __future__ import annotations

import math

import pytest

from hitl_ops.contracts.errors import UserError
from hitl_ops.worlds.household.catalog import FURNITURE, OBJECTS
from hitl_ops.worlds.household.episode_generator import HOMES
from hitl_ops.worlds.household.kinematic_scene import load_scene
from hitl_ops.worlds.household.layout import REACH, generate_home, scene_id
from hitl_ops.worlds.household.scene_description import SceneDescription

ALL_HOMES = [(split, number) for split, count in HOMES.items() for number in range(count)]


@pytest.mark.parametrize(("split", "number"), ALL_HOMES)
def test_home_is_whole(split: str, number: int) -> None:
    home = generate_home(split, number)
    scene = load_scene(home.scene_id)
    assert 4 <= len(home.rooms) <= 8
    names = [piece.name for piece in home.furniture] + [room.name for room in home.rooms]
    assert len(set(names)) == len(names)
    for place in home.spawns:
        for target in scene.anchors:
            assert scene.route(place, target) is not None
    for piece in home.furniture:
        assert piece.access
        for x, z in piece.access:
            assert scene.grid.is_free(x, z)
            assert scene.room_at(x, z) == piece.room
            for slot in (*piece.on_slots, *piece.within_slots):
                assert math.dist((x, z), (slot[0], slot[2])) <= REACH
    assert any(piece.has_faucet for piece in home.furniture)
    assert any(piece.articulated for piece in home.furniture)
    assert any(piece.powerable for piece in home.furniture)


def test_counts_meet_what_is_promised() -> None:
    assert HOMES["train"] >= 12
    assert HOMES["val"] >= 6
    assert HOMES["test"] >= 6
    assert len(OBJECTS) >= 60
    assert sum(kind.cleanable for kind in OBJECTS.values()) > 5
    assert sum(kind.fillable for kind in OBJECTS.values()) > 5
    assert sum(kind.powerable for kind in OBJECTS.values()) > 5


def test_no_kind_is_read_as_a_floor_or_twice() -> None:
    kinds = [*FURNITURE, *OBJECTS]
    assert len(set(kinds)) == len(kinds)
    assert not any(kind.startswith("floor") for kind in kinds)


@pytest.mark.slow
def test_homes_are_always_the_same_and_differ_between_splits() -> None:
    def plan(home: SceneDescription) -> str:
        return home.model_dump_json(exclude={"scene_id", "seed", "split"})

    assert generate_home("val", 1) == generate_home("val", 1)
    plans = [plan(generate_home(split, number)) for split, number in ALL_HOMES]
    assert len(set(plans)) == len(plans)


def test_a_home_survives_json() -> None:
    home = generate_home("test", 0)
    assert SceneDescription.model_validate_json(home.model_dump_json()) == home


@pytest.mark.parametrize("name", ["102817140.scene_instance.json", "flywheel_train", "flywheel_nowhere_001"])
def test_a_foreign_scene_is_named(name: str) -> None:
    with pytest.raises(UserError, match=name.split(".")[0]):
        load_scene(name)


def test_walls_and_closed_doors_block_sight() -> None:
    seen_through_doors = 0
    for split, number in ALL_HOMES[:8]:
        scene = load_scene(scene_id(split, number))
        everything_open = (1 << len(scene.description.doors)) - 1
        for room in scene.description.rooms:
            x, z = scene.grid.center(scene._goals[room.name][0])
            shut, wide = scene.seen_from(x, z, 0), scene.seen_from(x, z, everything_open)
            assert shut & wide == shut
            seen_through_doors += (wide & ~shut).bit_count()
            own = 1 << scene.anchors.index(f"floor_{room.name}")
            assert shut & own
            for position, anchor in enumerate(scene.anchors):
                piece = next((p for p in scene.description.furniture if p.name == anchor), None)
                if piece is not None and shut >> position & 1:
                    target = (piece.position[0], piece.position[2])
                    assert scene.line_of_sight((x, z), target, 0)
                    assert piece.room == room.name
    assert seen_through_doors > 0
