"""What a data set's authors say of its furniture: receptacles and joints, in files of the documented form."""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh

from hitl_ops.worlds.habitat.config import SceneConfig
from hitl_ops.worlds.habitat.open_scene import open_scene
from hitl_ops.worlds.habitat.partnr_episodes import episode_in_home
from hitl_ops.worlds.habitat.remote_scene import RemoteScene
from hitl_ops.worlds.habitat.scene_annotations import SceneAnnotations, read_annotations
from hitl_ops.worlds.habitat.users_scenes import SceneDataSet
from hitl_ops.worlds.household.renderer import Camera
from hitl_ops.worlds.household.scene_description import Furniture
from hitl_ops.worlds.household.tools import SUCCESS
from hitl_ops.worlds.household.world import HouseholdWorld
from tests.support.habitat_stand_in import double_scenes
from tests.support.own_scenes import own_scene, partnr, put

URDF = """<robot name="chest"><link name="body"/><link name="drawer"/><link name="knob"/>
<joint name="slide" type="prismatic"><parent link="body"/><child link="drawer"/>
<limit lower="{lower}" upper="{upper}" effort="1" velocity="1"/></joint>
<joint name="screw" type="{screw}"><parent link="drawer"/><child link="knob"/></joint></robot>"""


def aabb(position: list[float], scale: list[float], **more: Any) -> dict[str, Any]:
    return {"position": position, "rotation": [1, 0, 0, 0], "scale": scale, "up": [0, 1, 0], **more}


def mesh(file: str, **more: Any) -> dict[str, Any]:
    return aabb([0, 0, 0], [1, 1, 1], mesh_filepath=file, **more)


def annotated(
    folder: Path,
    table: dict[str, Any] | None = None,
    chest: dict[str, Any] | None = None,
    limits: tuple[float, float] = (0.0, 0.4),
    screw: str = "fixed",
) -> Path:
    """The own scene with annotations: of its table, of its chest and of the chest's joint."""
    config = own_scene(folder, regions=True)
    if table is not None:
        put(folder / "objects" / "table.object_config.json", {"render_asset": "table.glb", "user_defined": table})
    (folder / "urdf" / "chest.urdf").write_text(URDF.format(lower=limits[0], upper=limits[1], screw=screw))
    put(folder / "urdf" / "chest.ao_config.json", {"urdf_filepath": "chest.urdf", "user_defined": chest or {}})
    return config


def found(config: Path) -> SceneAnnotations:
    data = SceneDataSet(config)
    return read_annotations(data, data.files_of("flat"))


def opened(tmp_path: Path, config: Path) -> RemoteScene:
    habitat = double_scenes(tmp_path).habitat.replace(scene_dataset=str(config))
    scene = open_scene(SceneConfig(kind="habitat", habitat=habitat), "flat")
    assert isinstance(scene, RemoteScene)
    return scene


def piece(scene: RemoteScene, name: str) -> Furniture:
    return next(one for one in scene.description.furniture if one.name == name)


def carried_out(world: HouseholdWorld, *actions: str) -> list[str]:
    """What one agent is answered, action by action."""
    answers = []
    for action in actions:
        world.start(0, action)
        while world.busy(0):
            answers += [one.response for one in world.advance(2000)]
    return answers


CHEST = {
    "receptacle_aabb_top": aabb([0, 0.6, 0], [0.4, 0.0, 0.25], name="top", parent_link="body"),
    "receptacle_aabb_inside": aabb([0, 0.2, 0], [0.3, 0.05, 0.1], name="inside", parent_link="drawer"),
}


# --- reading --------------------------------------------------------------------------------------------------------


def test_a_box_is_a_grid_on_its_lowest_face(tmp_path: Path) -> None:
    told = found(annotated(tmp_path, {"receptacle_aabb_a": aabb([0.1, 0.8, 0], [0.6, 0.05, 0.35])}))
    (receptacle,) = told.objects["table"]
    points = np.array(receptacle["points"])
    assert receptacle["name"] == "receptacle_aabb_a" and points.shape == (4 * 2, 3)
    assert np.allclose(points[:, 1], 0.75)
    assert np.allclose(sorted(set(points[:, 0].round(6))), np.array([-0.45, -0.15, 0.15, 0.45]) + 0.1)
    assert np.allclose(sorted(set(points[:, 2].round(6))), [-0.175, 0.175])
    assert not told.left_out and told.sentence("flat") == ""


def test_a_box_that_is_turned_or_stands_otherwise_up(tmp_path: Path) -> None:
    half = math.sqrt(0.5)
    turned = aabb([0, 1, 0], [0.6, 0.0, 0.1])
    turned["rotation"] = [half, 0, half, 0]
    told = found(annotated(tmp_path, {"receptacle_aabb_a": turned}))
    points = np.array(told.objects["table"][0]["points"])
    assert np.ptp(points[:, 2]) == pytest.approx(0.9) and np.ptp(points[:, 0]) == pytest.approx(0, abs=1e-9)
    upright = aabb([0, 0, 1], [0.6, 0.1, 0.02]) | {"up": [0, 0, 1]}
    points = np.array(found(annotated(tmp_path, {"receptacle_aabb_a": upright})).objects["table"][0]["points"])
    assert np.allclose(points[:, 2], 0.98)


@pytest.mark.parametrize("ending", ["glb", "ply"])
def test_a_mesh_is_met_from_above(tmp_path: Path, ending: str) -> None:
    config = annotated(tmp_path, {"receptacle_mesh_a": mesh(f"top.{ending}", name="top")})
    # An L: nothing is placed where it has no surface.
    parts = [trimesh.creation.box((1.2, 0.02, 0.3)), trimesh.creation.box((0.3, 0.02, 0.6))]
    parts[0].apply_translation((0, 0.74, -0.15))
    parts[1].apply_translation((-0.45, 0.74, 0.3))
    (tmp_path / "objects" / f"top.{ending}").write_bytes(trimesh.util.concatenate(parts).export(file_type=ending))
    (receptacle,) = found(config).objects["table"]
    points = np.array(receptacle["points"])
    assert receptacle["name"] == "top.0000"
    assert np.allclose(points[:, 1], 0.75) and len(points) > 4
    assert all(z <= 1e-6 or x <= -0.3 + 1e-6 for x, _, z in points)


def test_joints_say_which_links_open_and_how_far(tmp_path: Path) -> None:
    told = found(annotated(tmp_path, chest=CHEST)).articulated["chest"]
    assert told["opens"] == {"drawer": [0.0, 0.4]}
    assert [(one["name"], one["link"]) for one in told["receptacles"]] == [("top", "body"), ("inside", "drawer")]
    assert found(annotated(tmp_path, limits=(0.0, 0.001))).articulated["chest"]["opens"] == {}


def test_what_is_not_understood_is_counted_in_one_line(tmp_path: Path) -> None:
    table = {
        "receptacle_sphere_a": aabb([0, 0, 0], [1, 1, 1]),
        "receptacle_aabb_b": {"position": [0, 0, 0]},
        "receptacle_aabb_c": aabb([0, 0, math.nan], [1, 1, 1]),
        "receptacle_aabb_d": aabb([0, 0, 0], [1, 1, 1], parent_link="body"),
        "receptacle_aabb_e": 7,
        "receptacle_mesh_f": mesh("nowhere.glb"),
        "receptacle_mesh_g": mesh("table.obj"),
        "receptacle_aabb_good": aabb([0, 0.75, 0], [0.3, 0, 0.3]),
        "object_states": {},
    }
    chest = {**CHEST, "receptacle_aabb_lost": aabb([0, 0, 0], [1, 1, 1], parent_link="lid")}
    config = annotated(tmp_path, table, chest, screw="continuous")
    put(
        tmp_path / "stages" / "flat.stage_config.json",
        {
            "render_asset": "flat.glb",
            "up": [0, 1, 0],
            "user_defined": {"receptacle_aabb_s": aabb([0, 0, 0], [1, 1, 1])},
        },
    )
    (tmp_path / "objects" / "table.obj").write_text("v 0 0 0\n")
    told = found(config)
    assert [one["name"] for one in told.objects["table"]] == ["receptacle_aabb_good"]
    assert [one["name"] for one in told.articulated["chest"]["receptacles"]] == ["top", "inside"]
    assert dict(told.left_out) == {
        "joint that is no hinge or slide with limits": 1,
        "receptacle of the stage": 1,
        "receptacle that is told otherwise than documented": 6,
        "receptacle with a mesh of kind '.obj'": 1,
        "receptacle: the mesh's file is missing": 1,
    }
    line = told.sentence("flat")
    assert "'flat'" in line and "6 × receptacle that is told otherwise" in line and "\n" not in line


@pytest.mark.parametrize("written", [None, "<robot", "<robot><joint type='revolute'/></robot>"])
def test_a_chest_of_unknown_joints_opens_as_before(tmp_path: Path, written: str | None) -> None:
    config = annotated(tmp_path)
    urdf = tmp_path / "urdf" / "chest.urdf"
    urdf.unlink()
    if written is not None:
        urdf.write_text(written)
    told = found(config)
    assert sum(told.left_out.values()) == 1
    assert told.articulated["chest"]["opens"] == (None if written in (None, "<robot") else {})


# --- scenes ---------------------------------------------------------------------------------------------------------


def test_slots_are_where_the_annotations_have_them(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = annotated(tmp_path / "own", {"receptacle_aabb_a": aabb([0.3, 0.75, 0], [0.15, 0, 0.15])}, CHEST)
    with caplog.at_level(logging.WARNING):
        scene = opened(tmp_path, config)
    assert not caplog.records
    table, chest = piece(scene, "table_0000"), piece(scene, "chest_0000")
    (slot,) = table.on_slots
    assert slot == pytest.approx((2.3, 0.75, 2.0), abs=1e-5) and not table.articulated and not table.within_slots
    assert all(y == pytest.approx(0.6, abs=1e-5) for _, y, _ in chest.on_slots) and chest.on_slots
    assert all(y == pytest.approx(0.15, abs=1e-5) for _, y, _ in chest.within_slots) and chest.within_slots
    assert chest.articulated
    scene.close()


def test_filters_say_what_is_out_of_use_and_what_is_inside(tmp_path: Path) -> None:
    shelves = {
        "receptacle_aabb_low": aabb([0, 0.3, 0], [0.3, 0, 0.1], name="low"),
        "receptacle_aabb_high": aabb([0, 0.75, 0], [0.3, 0, 0.1], name="high"),
        "receptacle_aabb_lost": aabb([0, 0.5, 0], [0.3, 0, 0.1], name="lost"),
    }
    config = annotated(tmp_path / "own", shelves, CHEST)
    instance = tmp_path / "own" / "scenes" / "flat.scene_instance.json"
    body = json.loads(instance.read_text()) | {"user_defined": {"scene_filter_file": "filters/flat.rec_filter.json"}}
    put(instance, body)
    filters = {"active": ["table_:0000|high"], "manually_filtered": ["table_:0000|lost"]}
    put(tmp_path / "own" / "filters" / "flat.rec_filter.json", {**filters, "within_set": ["table_:0000|low"]})
    scene = opened(tmp_path, config)
    table = piece(scene, "table_0000")
    assert {round(y, 3) for _, y, _ in table.on_slots} == {0.75}
    assert {round(y, 3) for _, y, _ in table.within_slots} == {0.3}
    # What stands within a thing that does not open is neither hidden nor out of reach.
    cups = [
        ["Cup_7.object_config.json", [[1, 0, 0, 1.9], [0, 1, 0, y], [0, 0, 1, 2.0], [0, 0, 0, 1]]] for y in (0.8, 0.4)
    ]
    world = HouseholdWorld(episode_in_home(partnr(rigid_objs=cups), scene.description), scene=scene)
    assert [world.facts.objects[name].relation for name in ("cup_1", "cup_2")] == ["on", "within"], "the nearest slots"
    assert carried_out(world, "Navigate[table_0000]", "Pick[cup_2]") == [SUCCESS, SUCCESS]
    assert carried_out(world, "Place[cup_2, within, table_0000, None, None]", "Pick[cup_2]") == [SUCCESS, SUCCESS]
    scene.close()


def test_what_lies_under_something_of_a_thing_that_opens_is_within_it(tmp_path: Path) -> None:
    chest = {
        "receptacle_aabb_top": aabb([0, 0.6, 0], [0.4, 0.0, 0.25], parent_link="body"),
        "receptacle_aabb_shelf": aabb([0, 0.3, 0], [0.3, 0.0, 0.1], parent_link="body"),
    }
    scene = opened(tmp_path, annotated(tmp_path / "own", chest=chest))
    found_chest = piece(scene, "chest_0000")
    assert {round(y, 3) for _, y, _ in found_chest.within_slots} == {0.3}
    assert {round(y, 3) for _, y, _ in found_chest.on_slots} == {0.6}
    scene.close()


def test_furniture_opens_where_one_of_its_links_does(tmp_path: Path) -> None:
    scene = opened(tmp_path, annotated(tmp_path / "own", chest=CHEST))
    world = HouseholdWorld(episode_in_home(partnr(), scene.description), scene=scene)
    assert carried_out(world, "Navigate[chest_0000]", "Open[chest_0000]") == [SUCCESS, SUCCESS]
    # Its drawer is drawn out in pictures, and back in.
    camera = Camera((6.0, 3.0, 3.0), yaw=-math.pi / 2, pitch=-1.0)
    drawn = []
    for is_open in (False, True, False):
        world.facts.furniture_open["chest_0000"] = is_open
        scene.show(world.facts)
        drawn.append(scene.picture(camera, 24, 18, ("depth",))["depth"])
    assert not np.array_equal(drawn[0], drawn[1]) and np.array_equal(drawn[0], drawn[2])
    scene.close()
    scene = opened(tmp_path, annotated(tmp_path / "stuck", chest=CHEST, limits=(0.0, 0.0)))
    assert not piece(scene, "chest_0000").articulated, "nothing of it opens"
    scene.close()


def test_a_scene_tells_what_it_did_not_understand_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = annotated(tmp_path / "own", {"receptacle_mesh_a": mesh("nowhere.glb")})
    with caplog.at_level(logging.WARNING):
        scene = opened(tmp_path, config)
    (record,) = caplog.records
    assert "1 × receptacle: the mesh's file is missing" in record.getMessage()
    assert all(y == pytest.approx(0.75, abs=0.01) for _, y, _ in piece(scene, "table_0000").on_slots), "probed"
    scene.close()
