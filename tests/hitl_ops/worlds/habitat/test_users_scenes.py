"""Scene data sets, laid out as HSSD and PARTNR lay theirs out: what is there, and what is missing, by its path."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hitl_ops.contracts.episode import Episode
from hitl_ops.contracts.errors import UserError
from hitl_ops.worlds.habitat.users_scenes import SceneDataSet, check_episode

EPISODES = Path(__file__).parents[1] / "household" / "partnr_episodes.json"
SCENE = "102817140"


def put(path: Path, body: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(body))
    return path


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
