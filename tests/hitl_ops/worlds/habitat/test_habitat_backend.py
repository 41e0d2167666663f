"""The backend for habitat-sim, run on a double that has just habitat-sim's calls; see ``habitat_double``.

That it makes these calls in their right form, and what it does with answers, is what these tests show; what
habitat-sim itself answers only ``make test-habitat`` does. ``test_scene_contract.py`` holds it to the scene contract.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.store import Store
from hitl_ops.worlds.habitat import worker
from hitl_ops.worlds.habitat.config import HabitatConfig, SceneConfig
from hitl_ops.worlds.habitat.home_export import cached_home
from hitl_ops.worlds.habitat.home_manifest import read_manifest
from hitl_ops.worlds.habitat.messages import RefusedQuestion
from hitl_ops.worlds.habitat.open_scene import open_scene
from hitl_ops.worlds.habitat.remote_scene import RemoteScene
from hitl_ops.worlds.household import grid, kinematic_scene
from hitl_ops.worlds.household.catalog import OBJECT_SHAPES
from hitl_ops.worlds.household.facts import Facts
from hitl_ops.worlds.household.kinematic_scene import load_scene
from hitl_ops.worlds.household.renderer import Camera, make_renderer
from hitl_ops.worlds.household.renderer.camera import EYE_HEIGHT
from hitl_ops.worlds.household.world import HouseholdWorld
from tests.support.habitat_stand_in import double_python, double_scenes
from tests.support.old_python import python39
from tests.support.small_policies import small_episode

HOME = "flywheel_val_003"
SMALL = (20, 15)


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> SceneConfig:
    return double_scenes(tmp_path_factory.mktemp("double"))


@pytest.fixture(scope="module")
def scene(stand_in: SceneConfig) -> Iterator[RemoteScene]:
    opened = open_scene(stand_in, HOME)
    assert isinstance(opened, RemoteScene)
    yield opened
    opened.close()


def manifest_of(scene: RemoteScene) -> dict[str, int]:
    home = cached_home(scene.description, OBJECT_SHAPES, Store.from_environment().root / "homes")
    return read_manifest(home).semantic_ids


def test_its_numbers_are_those_of_the_kinematic_scene() -> None:
    theirs = (kinematic_scene.SIGHT_RANGE, kinematic_scene.DOOR_PUSH, EYE_HEIGHT, grid.CELL)
    assert theirs == (worker.SIGHT_RANGE, worker.DOOR_PUSH, worker.EYE_HEIGHT, worker.STRIDE)
    assert math.ceil(worker._AGENT_RADIUS / worker._VOXEL) * worker._VOXEL >= grid.AGENT_RADIUS - worker._VOXEL
    assert worker._AGENT_RADIUS <= grid.AGENT_RADIUS - worker._VOXEL


def test_it_says_what_it_is(scene: RemoteScene) -> None:
    assert scene.hello.backend == "habitat"
    assert "double" in scene.hello.versions["habitat_sim"]
    assert set(scene.hello.capabilities) == {"navmesh", "rgb", "depth", "semantic"}


def test_it_sees_what_the_kinematic_scene_sees(scene: RemoteScene) -> None:
    """Walls are as thick as they are drawn here: lines that graze a jamb differ, no others."""
    here = load_scene(HOME)
    same = total = 0
    for piece in here.description.furniture:
        for place in piece.access:
            for doors in (0, (1 << len(here.description.doors)) - 1):
                differ = scene.seen_from(*place, doors) ^ here.seen_from(*place, doors)
                same += len(here.anchors) - differ.bit_count()
                total += len(here.anchors)
    assert same / total > 0.98


def test_routes_end_at_the_nearest_access_place(scene: RemoteScene) -> None:
    for start in scene.description.spawns:
        for piece in scene.description.furniture:
            route = scene.route(start, piece.name)
            assert route is not None
            each = [scene.route(start, place) for place in piece.access]
            assert route.lengths[-1] == pytest.approx(min(one.lengths[-1] for one in each if one), abs=0.1)
            assert max(b - a for a, b in zip(route.lengths, route.lengths[1:], strict=False)) <= worker.STRIDE + 1e-6


# --- pictures ---------------------------------------------------------------------------------------------------


def test_its_pictures_show_what_ours_do(scene: RemoteScene, stand_in: SceneConfig) -> None:
    world = HouseholdWorld(small_episode(), scene=None)
    there = open_scene(stand_in, world.episode.scene_id)
    assert isinstance(there, RemoteScene)
    ours = make_renderer(world.state.description, OBJECT_SHAPES)
    try:
        world.state.take(0, next(iter(world.facts.objects)))
        there.show(world.facts)
        for agent, pitch in ((0, 0.0), (1, -0.5)):
            camera = Camera.of_agent(world.facts, agent, pitch=pitch)
            depth = ours.render(world.facts, camera, *SMALL).depth
            assert depth is not None
            agree(there.picture(camera, *SMALL, ("depth",))["depth"], depth)
        plan = Camera.topdown(world.state.description)
        depth = ours.render(world.facts, plan, *SMALL).depth
        assert depth is not None
        agree(there.picture(plan, *SMALL, ("depth",))["depth"], depth)
    finally:
        ours.close()
        there.close()


def agree(theirs: np.ndarray, ours: np.ndarray) -> None:
    """Two depths of the same view: edges fall on either side of a pixel, surfaces do not."""
    close = np.abs(theirs - ours) < 0.03
    assert theirs.dtype == np.float32 and ours.std() > 0.1
    assert close.mean() > 0.9, f"{close.mean():.2f} of the pixels agree"


def test_semantic_pictures_name_what_is_there(scene: RemoteScene) -> None:
    world = HouseholdWorld(small_episode(), scene=None)
    names = manifest_of(scene)
    of = {number: name for name, number in names.items()}
    home = scene.description
    piece = next(piece for piece in home.furniture if piece.size[1] > 0.6)
    x, z = piece.access[0]
    yaw = math.atan2(-(piece.position[2] - z), piece.position[0] - x)
    scene.show(empty(world.facts))
    camera = Camera((x, 1.5, z), yaw, pitch=-0.8)
    seen = scene.picture(camera, *SMALL, ("semantic", "rgb"))
    shown = {of.get(number, "?") for number in np.unique(seen["semantic"]).tolist()}
    assert piece.name in shown and f"floor_{piece.room}" in shown and "?" not in shown
    assert seen["rgb"].shape == (SMALL[1], SMALL[0], 3) and seen["rgb"].std() > 1
    # Straight up there is the ceiling, and nothing else.
    up = scene.picture(Camera((x, 1.5, z), 0.0, pitch=math.pi / 2 - 0.01, fov=20), 6, 6, ("semantic",))["semantic"]
    assert {of[number] for number in np.unique(up).tolist()} == {"ceiling"}


def empty(facts: Facts) -> Facts:
    return Facts(agents=[], objects={}, furniture_rooms={}, furniture_open={}, furniture_states={}, doors_open={})


def test_doors_are_there_until_they_open(scene: RemoteScene) -> None:
    world = HouseholdWorld(small_episode(), scene=None)
    door = scene.description.doors[0]
    (x0, z0), (x1, z1) = door.start, door.end
    long = math.dist(door.start, door.end)
    x, z = (x0 + x1) / 2 - (z1 - z0) / long, (z0 + z1) / 2 + (x1 - x0) / long
    yaw = math.atan2(-((z0 + z1) / 2 - z), (x0 + x1) / 2 - x)
    camera = Camera((x, 1.0, z), yaw, fov=30)
    facts = empty(world.facts)
    leaf = manifest_of(scene)[door.name]
    for is_open in (False, True):
        facts.doors_open[door.name] = is_open
        scene.show(facts)
        middle = scene.picture(camera, 8, 8, ("semantic",))["semantic"][4, 4]
        assert (middle == leaf) is not is_open


def test_an_agent_does_not_see_its_own_head(scene: RemoteScene) -> None:
    world = HouseholdWorld(small_episode(), scene=None)
    facts = empty(world.facts)
    facts.agents = [world.facts.agents[0]]
    facts.agents[0].x, facts.agents[0].z = scene.description.spawns[0]
    scene.show(facts)
    x, z = scene.description.spawns[0]
    for hidden, least in ((None, True), (0, False)):
        camera = Camera((x, 3.0, z), 0.0, -math.pi / 2, extent=(1.0, 1.0), far=4.0, hidden_agent=hidden, ceilings=False)
        depth = scene.picture(camera, 9, 9, ("depth",))["depth"]
        assert bool(depth[4, 4] < 2.0) is least


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"ceilings": False}, "from straight above"),
        ({"near": 0.0}, "shows nothing"),
        ({"far": float("inf")}, "finite"),
        ({"fov": 180.0}, "shows nothing"),
    ],
)
def test_cameras_that_cannot_be_are_refused(scene: RemoteScene, changed: dict[str, Any], said: str) -> None:
    scene.show(empty(HouseholdWorld(small_episode(), scene=None).facts))
    camera = dataclasses.replace(Camera((1.0, 1.5, 1.0), yaw=0.0), **changed)
    with pytest.raises(RefusedQuestion, match=said):
        scene.picture(camera, 4, 4, ("depth",))


# --- failures ---------------------------------------------------------------------------------------------------


def load(python: str, folder: str, gpu: int = -1) -> RemoteScene:
    asked = {"kind": "home", "scene_id": HOME, "folder": folder}
    return RemoteScene(HabitatConfig(python=python, gpu=gpu), asked, load_scene(HOME).description)


def test_a_graphics_card_that_is_not_there_is_told_by_its_last_words(tmp_path: Path) -> None:
    """habitat-sim aborts the process then; it raises nothing."""
    folder = str(cached_home(load_scene(HOME).description, OBJECT_SHAPES, tmp_path))
    python = double_python(tmp_path, fails="abort")
    with pytest.raises(UserError) as caught:
        load(python, folder, gpu=0)
    told = str(caught.value)
    assert "SIGABRT" in told and "unable to find CUDA device 0" in told and "-1" in caught.value.remedy
    load(python, folder).close()


def test_a_broken_installation_is_a_line(tmp_path: Path) -> None:
    with pytest.raises(RefusedQuestion, match=r"habitat_sim cannot be imported .*libEGL"):
        load(double_python(tmp_path, fails="broken"), "")


@pytest.mark.parametrize("how", ["missing", "no json", "another home", "another format", "no stage", "no objects"])
def test_a_home_that_is_not_as_exported_is_a_line(tmp_path: Path, how: str) -> None:
    import json

    folder = cached_home(load_scene(HOME).description, OBJECT_SHAPES, tmp_path)
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    if how == "missing":
        path.unlink()
    elif how == "no json":
        path.write_text("{")
    elif how == "no stage":
        (folder / manifest["files"]["stage_config"]).unlink()
    elif how == "no objects":
        next((folder / "objects").glob("*.object_config.json")).unlink()
    else:
        manifest["scene_id"] = "flywheel_val_999" if how == "another home" else manifest["scene_id"]
        manifest["versions"]["format"] = 99 if how == "another format" else manifest["versions"]["format"]
        path.write_text(json.dumps(manifest))
    with pytest.raises(RefusedQuestion) as caught:
        load(double_python(tmp_path), str(folder))
    assert str(folder) in caught.value.what and "\n" not in str(caught.value)


@pytest.mark.slow
def test_it_runs_on_python_3_9(tmp_path: Path) -> None:
    opened = open_scene(double_scenes(tmp_path, str(python39())), HOME)
    assert isinstance(opened, RemoteScene)
    assert opened.hello.python.startswith("3.9.")
    opened.show(empty(HouseholdWorld(small_episode(), scene=None).facts))
    x, z = opened.description.spawns[0]
    seen = opened.picture(Camera((x, 1.5, z), 0.3), 8, 6, worker.KINDS)
    assert set(seen) == set(worker.KINDS)
    assert opened.route((x, z), opened.anchors[0]) is not None and opened.seen_from(x, z, 0)
    opened.close()
