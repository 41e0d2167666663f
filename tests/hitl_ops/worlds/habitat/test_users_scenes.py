"""Scene data sets, laid out as HSSD and PARTNR lay theirs out: what is there, and what is missing, by its path."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from hitl_ops.contracts.episode import Episode
from hitl_ops.contracts.errors import UserError
from hitl_ops.experts.oracle import Oracle
from hitl_ops.rollouts.play import play_episode
from hitl_ops.worlds.habitat.config import HabitatConfig, SceneConfig
from hitl_ops.worlds.habitat.open_scene import KeptScenes, open_scene
from hitl_ops.worlds.habitat.partnr_episodes import episode_in_home
from hitl_ops.worlds.habitat.remote_scene import RemoteScene
from hitl_ops.worlds.habitat.users_scenes import SceneDataSet, check_episode
from hitl_ops.worlds.household.renderer import Camera
from hitl_ops.worlds.household.world import HouseholdWorld
from tests.support.habitat_stand_in import double_scenes
from tests.support.own_scene import own_scene, put

EPISODES = Path(__file__).parents[1] / "household" / "partnr_episodes.json"
SCENE = "102817140"


def put_object(folder: Path, name: str) -> None:
    put(folder / f"{name}.object_config.json", {"render_asset": f"{name}.glb", "collision_asset": f"{name}.glb"})
    (folder / f"{name}.glb").write_bytes(b"glTF")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Folders and patterns as in hssd-hab-partnr.scene_dataset_config.json."""
    root = tmp_path / "data" / "hssd-hab"
    put(root / "stages" / f"{SCENE}.stage_config.json", {"render_asset": f"{SCENE}.glb"})
    (root / "stages" / f"{SCENE}.glb").write_bytes(b"glTF")
    put_object(root / "objects" / "4", "table_c3")
    put_object(root / "objects" / "decomposed" / "c", "counter_9a")
    put(root / "urdf" / "desk_41" / "desk_41.ao_config.json", {"urdf_filepath": "desk_41.urdf"})
    instance = {
        "stage_instance": {"template_name": f"stages/{SCENE}"},
        "object_instances": [{"template_name": "table_c3"}, {"template_name": "counter_9a"}],
        "articulated_object_instances": [{"template_name": "desk_41"}],
    }
    put(root / "scenes-partnr-filtered" / f"{SCENE}.scene_instance.json", instance)
    for name in ("Cup_7", "Cup_8"):
        put_object(tmp_path / "data" / "objects_ovmm" / "train_val" / "ai2thorhab" / "configs" / "objects", name)
    paths = {
        "stages": ["stages"],
        "objects": ["objects/*", "objects/decomposed/*"],
        "articulated_objects": ["urdf/*/"],
        "scene_instances": ["scenes-partnr-filtered"],
    }
    body = {kind: {"paths": {".json": places}} for kind, places in paths.items()}
    return put(root / "hssd-hab-partnr.scene_dataset_config.json", body)


def episode() -> Episode:
    return Episode.model_validate(json.loads(EPISODES.read_text())["episodes"][0])


def test_a_whole_data_set_has_all_an_episode_needs(config: Path) -> None:
    assert SceneDataSet(config).scenes() == (SCENE,)
    files = check_episode(episode(), config)
    assert files.stage.name == f"{SCENE}.stage_config.json" and files.instance is not None
    assert set(files.objects) == {"table_c3", "counter_9a"} and set(files.articulated) == {"desk_41"}


@pytest.mark.parametrize(
    "lost",
    [
        "hssd-hab-partnr.scene_dataset_config.json",
        f"stages/{SCENE}.stage_config.json",
        f"stages/{SCENE}.glb",
        "objects/4/table_c3.object_config.json",
        "objects/decomposed/c/counter_9a.glb",
        "urdf/desk_41/desk_41.ao_config.json",
        f"scenes-partnr-filtered/{SCENE}.scene_instance.json",
        "../objects_ovmm/train_val/ai2thorhab/configs/objects/Cup_7.object_config.json",
        "../objects_ovmm/train_val/ai2thorhab/configs/objects/Cup_8.glb",
    ],
)
def test_what_is_missing_is_named_with_its_path(config: Path, lost: str) -> None:
    gone = config.parent / lost
    gone.unlink()
    if lost.startswith("scenes"):
        (config.parent / "stages" / f"{SCENE}.stage_config.json").unlink()
    with pytest.raises(UserError) as caught:
        check_episode(episode(), config)
    told = str(caught.value)
    name = gone.name.split(".")[0]
    assert name in told and "\n" not in told
    assert str(config.parent) in told or "objects_ovmm" in told


@pytest.mark.parametrize("written", ["{", "[]", '{"stages": {"paths": []}}'])
def test_a_configuration_that_is_none_is_a_line(config: Path, written: str) -> None:
    config.write_text(written)
    with pytest.raises(UserError, match="hssd-hab-partnr"):
        SceneDataSet(config).files_of(SCENE)


def test_a_file_that_is_no_data_set_says_what_to_name(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="scene_dataset_config"):
        SceneDataSet(tmp_path / "scene.glb")


def test_a_stage_alone_is_a_scene_too(tmp_path: Path) -> None:
    put(tmp_path / "stages" / "room.stage_config.json", {"render_asset": "room.glb"})
    (tmp_path / "stages" / "room.glb").write_bytes(b"glTF")
    body = {"stages": {"paths": {".json": ["stages"]}}}
    data = SceneDataSet(put(tmp_path / "own.scene_dataset_config.json", body))
    assert data.scenes() == ("room",) and data.files_of("room").instance is None


def test_our_own_exports_are_data_sets(tmp_path: Path) -> None:
    from hitl_ops.worlds.habitat.home_export import export_home
    from hitl_ops.worlds.household.catalog import OBJECT_SHAPES
    from hitl_ops.worlds.household.kinematic_scene import load_scene

    manifest = export_home(load_scene("flywheel_val_000").description, OBJECT_SHAPES, tmp_path / "home")
    data = SceneDataSet(tmp_path / "home" / manifest.files.scene_dataset_config)
    assert data.scenes() == ("home",)
    assert data.files_of("home").stage.is_file()
    for kind in manifest.objects:
        assert data.object_config(f"{kind}.object_config.json").is_file()


# --- scenes as homes, on the double of habitat-sim ----------------------------------------------------------------


def opened(tmp_path: Path, regions: bool) -> RemoteScene:
    config = own_scene(tmp_path / "own", regions)
    habitat = double_scenes(tmp_path).habitat.replace(scene_dataset=str(config))
    scene = open_scene(SceneConfig(kind="habitat", habitat=habitat), "flat")
    assert isinstance(scene, RemoteScene)
    return scene


def test_a_users_scene_becomes_a_home(tmp_path: Path) -> None:
    scene = opened(tmp_path, regions=True)
    home = scene.description
    assert {room.name for room in home.rooms} == {"bedroom_001", "living_room_1"}
    table, chest = (next(piece for piece in home.furniture if piece.name.startswith(k)) for k in ("table", "chest"))
    assert len(home.furniture) == 2, "the vase is out of reach"
    assert (table.room, chest.room) == ("bedroom_001", "living_room_1")
    assert table.on_slots and all(y == pytest.approx(0.75, abs=0.01) for _, y, _ in table.on_slots)
    assert chest.articulated and chest.within_slots and not table.articulated and len(table.access) == 4
    route = scene.route(home.spawns[0], chest.name)
    assert route is not None and min(math.dist(route.points[-1], place) for place in chest.access) < 0.1
    assert scene.room_at(*route.points[-1]) == "living_room_1"
    # The wall beside the doorway hides, the table does not.
    assert scene.line_of_sight((1.0, 2.0), (7.0, 2.0), 0)
    assert not scene.line_of_sight((1.0, 1.0), (7.0, 1.0), 0)
    seen = scene.seen_from(*table.access[0], 0)
    assert seen >> scene.anchors.index(table.name) & 1 and seen >> scene.anchors.index("floor_bedroom_001") & 1
    # Nobody walks through what stands there.
    x, z = table.access[0]
    for _ in range(100):
        x, z = scene.slide(x, z, (2.0 - x) * 0.05, (2.0 - z) * 0.05)
    assert abs(x - 2.0) > 0.6 or abs(z - 2.0) > 0.35
    scene.close()


def test_without_regions_it_is_one_room(tmp_path: Path) -> None:
    scene = opened(tmp_path, regions=False)
    assert [room.name for room in scene.description.rooms] == ["room_1"]
    assert {piece.room for piece in scene.description.furniture} == {"room_1"}
    scene.close()


def test_a_scene_with_something_missing_starts_nothing(tmp_path: Path) -> None:
    config = own_scene(tmp_path / "own", regions=True)
    (tmp_path / "own" / "objects" / "table.glb").unlink()
    habitat = HabitatConfig(python="/nowhere/python", scene_dataset=str(config))
    with pytest.raises(UserError, match=r"objects/table\.glb' is missing"):
        open_scene(SceneConfig(kind="habitat", habitat=habitat), "flat")


def partnr(**changed: Any) -> Episode:
    """One that fits the scene: a cup on the table has to come into the chest's room and be clean."""
    body = {
        "episode_id": "7",
        "scene_id": "flat",
        "instruction": "Bring a clean cup to the living room.",
        "rigid_objs": [
            ["Cup_7.object_config.json", [[1, 0, 0, 1.6], [0, 1, 0, 0.8], [0, 0, 1, 2.0], [0, 0, 0, 1]]],
            ["Cup_7.object_config.json", [[1, 0, 0, 2.4], [0, 1, 0, 0.8], [0, 0, 1, 2.0], [0, 0, 0, 1]]],
        ],
        "name_to_receptacle": {"Cup_7_:0000": "table_:0000|receptacle_mesh", "Cup_7_:0001": "table_:0000|x"},
        "evaluation_propositions": [
            {
                "function_name": "is_on_top",
                "args": {"object_handles": ["Cup_7_:0001"], "receptacle_handles": ["chest_:0000"], "number": 1},
            },
            {"function_name": "is_in_room", "args": {"object_handles": ["Cup_7_:0000"], "room_ids": ["bedroom.001"]}},
        ],
        "object_states": {"is_clean": {"Cup_7_:0000": False}},
    }
    return Episode.model_validate({**body, **changed})


def test_an_episode_of_partnrs_is_played_in_its_scene(tmp_path: Path) -> None:
    scene = opened(tmp_path, regions=True)
    placed = episode_in_home(partnr(), scene.description)
    world = HouseholdWorld(placed, scene=scene)
    assert set(world.facts.objects) == {"cup_1", "cup_2"}
    one, two = world.facts.objects["cup_1"], world.facts.objects["cup_2"]
    assert one.parent == two.parent == "table_0000" and one.slot != two.slot
    assert one.position[0] < two.position[0], "each on the slot nearest to where the episode has it"
    assert one.states["is_clean"] is False and two.states["is_clean"] is True
    assert world.evaluation.percent_complete == pytest.approx(0.5), "cup_1 is in the bedroom, cup_2 not on the chest"
    scene.show(world.facts)
    assert scene.picture(Camera.of_agent(world.facts, 0), 6, 4, ("rgb",))["rgb"].shape == (4, 6, 3)
    scene.close()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"name_to_receptacle": {"Cup_7_:0000": "altar_:0000|x"}}, "altar_:0000"),
        ({"name_to_receptacle": {"Cup_9_:0000": "table_:0000|x"}}, "Cup_9_:0000"),
        ({"rigid_objs": [["Zither_1.object_config.json", [[0, 0, 0, 0]] * 4]], "name_to_receptacle": {}}, "Zither_1"),
        ({"rigid_objs": [["Cup_1.object_config.json"]]}, "without a transform"),
    ],
)
def test_what_an_episode_names_and_its_scene_lacks_is_a_line(
    tmp_path: Path, changed: dict[str, Any], said: str
) -> None:
    scene = opened(tmp_path, regions=True)
    with pytest.raises(UserError) as caught:
        episode_in_home(partnr(**changed), scene.description)
    assert said in str(caught.value) and "\n" not in str(caught.value)
    scene.close()


def test_a_rollout_plays_partnrs_episodes_where_their_scene_is(tmp_path: Path) -> None:
    config = own_scene(tmp_path / "own", regions=True)
    habitat = double_scenes(tmp_path).habitat.replace(scene_dataset=str(config))
    scenes = KeptScenes(SceneConfig(kind="habitat", habitat=habitat))
    try:
        scene = scenes.scene("flat")
        placed = episode_in_home(partnr(), scene.description)
        oracle = Oracle("partial")
        played = play_episode(placed, {0: oracle, 1: oracle}, scene=scene)
        assert played.result.success, [str(one.action) for one in played.decisions]
    finally:
        scenes.close()
