"""Homes as files, read by a library that shares nothing with what wrote them."""

from __future__ import annotations

import functools
import io
import itertools
import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import trimesh
from numpy.typing import NDArray

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.publish import sweep_temporaries
from hitl_ops.worlds.habitat.glb import glb_bytes
from hitl_ops.worlds.habitat.home_export import cached_home, export_home, home_glb
from hitl_ops.worlds.habitat.home_manifest import Manifest, read_manifest
from hitl_ops.worlds.habitat.home_nodes import furniture_node, moving_nodes
from hitl_ops.worlds.household.catalog import FURNITURE, OBJECT_SHAPES, OBJECTS
from hitl_ops.worlds.household.episode_generator import HOMES
from hitl_ops.worlds.household.furniture_parts import furniture_parts
from hitl_ops.worlds.household.kinematic_scene import load_scene
from hitl_ops.worlds.household.layout import generate_home, scene_id
from hitl_ops.worlds.household.scene_description import Furniture, ObjectShape, Part, SceneDescription

ALL_HOMES = [scene_id(split, number) for split, count in HOMES.items() for number in range(count)]
CENTIMETRE = 0.01
FEW_SHAPES = {kind: OBJECT_SHAPES[kind] for kind in ("mug", "ball", "book")}


@functools.cache
def home(name: str) -> SceneDescription:
    _, split, number = name.split("_")
    return generate_home(split, int(number))


def read(content: bytes | Path) -> trimesh.Scene:
    stream = io.BytesIO(content) if isinstance(content, bytes) else io.BytesIO(content.read_bytes())
    return trimesh.load_scene(stream, file_type="glb")


def document(content: bytes) -> dict[str, object]:
    length = int.from_bytes(content[12:16], "little")
    found = json.loads(content[20 : 20 + length])
    assert isinstance(found, dict)
    return found


def solids(scene: trimesh.Scene, under: str = "") -> Iterator[tuple[str, trimesh.Trimesh]]:
    """The solids in the world's frame, by their nodes' names; only those of one named node if wanted."""
    for node in scene.graph.nodes_geometry:
        if under in ("", node) or node.startswith(f"{under}/"):
            transform, geometry = scene.graph[node]
            yield node, scene.geometry[geometry].copy().apply_transform(transform)


def reach(scene: trimesh.Scene, under: str) -> NDArray[np.float64]:
    bounds: NDArray[np.float64] = trimesh.util.concatenate([solid for _, solid in solids(scene, under)]).bounds
    return bounds


def reach_of_parts(piece: Furniture) -> NDArray[np.float64]:
    """The extent the description gives a piece of furniture, metres [2, 3]: round parts by their first size."""
    corners = []
    for part in piece.parts:
        w, h, d = part.size
        half = np.array({"box": (w, h, d), "cylinder": (w, h, w), "sphere": (w, w, w)}[part.shape]) / 2
        signs = np.array(list(itertools.product((-1, 1), repeat=3)))
        corners.append(np.array(part.center) + half * signs)
    turn = trimesh.transformations.rotation_matrix(piece.yaw, (0, 1, 0))[:3, :3]
    placed = np.concatenate(corners) @ turn.T + piece.position
    return np.array([placed.min(axis=0), placed.max(axis=0)])


@pytest.mark.parametrize("name", ALL_HOMES)
def test_every_home_is_closed_in_metres_and_upright(name: str) -> None:
    wanted = home(name)
    scene = read(home_glb(wanted))
    for geometry in scene.geometry.values():
        geometry.merge_vertices(merge_norm=True)
    for node, solid in solids(scene):
        assert solid.is_watertight and solid.is_winding_consistent and solid.volume > 0, node
    bounds = np.array([room.bounds for room in wanted.rooms])
    wall = wanted.walls[0].thickness / 2
    low = (bounds[:, 0].min() - wall, -0.05, bounds[:, 1].min() - wall)
    high = (bounds[:, 2].max() + wall, max(w.height for w in wanted.walls) + 0.05, bounds[:, 3].max() + wall)
    np.testing.assert_allclose(scene.bounds, [low, high], atol=CENTIMETRE)
    for room in wanted.rooms:
        x0, z0, x1, z1 = room.bounds
        np.testing.assert_allclose(reach(scene, f"floor_{room.name}"), [(x0, -0.05, z0), (x1, 0, z1)], atol=1e-4)
        assert reach(scene, f"ceiling_{room.name}")[0, 1] == pytest.approx(2.4)
    for door in wanted.doors:
        leaf = reach(scene, door.name)
        jambs = np.sort(np.array([door.start, door.end]), axis=0)
        np.testing.assert_allclose(leaf[:, 1], (0, door.height), atol=1e-4)
        along = int(np.argmax(jambs[1] - jambs[0]))
        np.testing.assert_allclose(leaf[:, (0, 2)][:, along], jambs[:, along], atol=1e-4)
        np.testing.assert_allclose(leaf[:, (0, 2)].mean(axis=0), jambs.mean(axis=0), atol=1e-4)
    for piece in wanted.furniture:
        np.testing.assert_allclose(reach(scene, piece.name), reach_of_parts(piece), atol=1e-4, err_msg=piece.name)


@pytest.mark.parametrize("kind", FURNITURE)
@pytest.mark.parametrize("turn", range(4))
def test_every_kind_of_furniture_is_closed_and_stands_where_it_should(kind: str, turn: int) -> None:
    some = home("flywheel_val_000").furniture[0]
    parts, yaw = furniture_parts(FURNITURE[kind]), turn * math.pi / 2
    piece = some.model_copy(update={"kind": kind, "name": f"{kind}_1", "parts": parts, "yaw": yaw})
    scene = read(glb_bytes([furniture_node(piece)]))
    for geometry in scene.geometry.values():
        geometry.merge_vertices(merge_norm=True)
    drawn = list(solids(scene))
    assert len(drawn) == len(parts)
    assert all(solid.is_watertight and solid.volume > 0 for _, solid in drawn)
    np.testing.assert_allclose(reach(scene, piece.name), reach_of_parts(piece), atol=1e-4)


@pytest.mark.parametrize("name", ALL_HOMES)
def test_names_are_the_worlds(name: str, tmp_path: Path) -> None:
    manifest = export_home(home(name), FEW_SHAPES, tmp_path / "home")
    assert read_manifest(tmp_path / "home") == manifest
    assert manifest.description == home(name)
    content = (tmp_path / "home" / manifest.files.home).read_bytes()
    nodes = document(content)["nodes"]
    assert isinstance(nodes, list)
    written = [node["name"] for node in nodes]
    assert len(set(written)) == len(written)
    assert set(read(content).graph.nodes) == {"world", *written}
    listed = [entry.name for entry in manifest.nodes]
    assert len(set(listed)) == len(listed)
    assert set(listed) == {node["name"] for node in nodes if "mesh" not in node}
    own = {entry.name: entry.of for entry in manifest.nodes}
    assert set(load_scene(name).anchors) <= set(own)
    for kind, names in (
        ("floor", {room.name for room in manifest.description.rooms}),
        ("ceiling", {room.name for room in manifest.description.rooms}),
        ("door", {door.name for door in manifest.description.doors}),
        ("furniture", {piece.name for piece in manifest.description.furniture}),
    ):
        entries = [entry for entry in manifest.nodes if entry.kind == kind]
        assert {entry.of for entry in entries} == names and len(entries) == len(names)
    for piece in manifest.description.furniture:
        kinds = {part.role for part in piece.parts}
        assert (f"{piece.name}/door_1" in own) == ("door" in kinds)
        assert (f"{piece.name}/lamp_1" in own) == ("lamp" in kinds)
    for node in nodes:
        if "mesh" in node:
            assert node["name"].rsplit("/", 1)[0] in own
    labels = [*manifest.semantic_ids.values(), *(entry.semantic_id for entry in manifest.objects.values())]
    labels += [entry.semantic_id for entry in manifest.agents.values()]
    assert len(set(labels)) == len(labels) and min(labels) == 1


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest]:
    folder = tmp_path_factory.mktemp("exported") / "home"
    return folder, export_home(home("flywheel_val_001"), OBJECT_SHAPES, folder)


def volumes(content: Iterator[tuple[str, trimesh.Trimesh]]) -> list[tuple[str, tuple[float, ...]]]:
    return sorted((name, tuple(np.round(solid.bounds.ravel(), 3) + 0.0)) for name, solid in content)


def test_the_stage_and_what_moves_are_the_whole_home(exported: tuple[Path, Manifest]) -> None:
    folder, manifest = exported
    stage = read(folder / manifest.files.stage)
    assert not any("/door_" in name or name.startswith("door_") for name, _ in solids(stage))
    parts = list(solids(stage))
    for moving in manifest.moving_parts:
        config = folder / moving.config
        asset = config.parent / json.loads(config.read_text())["render_asset"]
        pose = trimesh.transformations.rotation_matrix(moving.yaw, (0, 1, 0))
        pose[:3, 3] = moving.position
        parts += [(name, solid.apply_transform(pose)) for name, solid in solids(read(asset))]
    whole = volumes(solids(read(folder / manifest.files.home)))
    assert volumes(iter(parts)) == whole and len(manifest.moving_parts) >= len(manifest.description.doors) + 3


def test_habitat_finds_every_file(exported: tuple[Path, Manifest]) -> None:
    folder, manifest = exported
    dataset = json.loads((folder / manifest.files.scene_dataset_config).read_text())
    (stage_config,) = dataset["stages"]["paths"][".json"]
    stage = json.loads((folder / stage_config).read_text())
    assert stage["up"] == [0, 1, 0] and (folder / stage["render_asset"]).is_file()
    assert stage["collision_asset"] == stage["render_asset"] == manifest.files.stage
    listed = {config for place in dataset["objects"]["paths"][".json"] for config in (folder / place).glob("*.json")}
    entries = [*manifest.objects.values(), *manifest.agents.values()]
    labelled = {folder / entry.config: entry.semantic_id for entry in entries}
    labelled |= {folder / part.config: manifest.semantic_ids[part.of] for part in manifest.moving_parts}
    assert listed == set(labelled)
    for config, label in labelled.items():
        assert config.name.endswith(".object_config.json")
        said = json.loads(config.read_text())
        assert said["semantic_id"] == label and said["up"] == [0, 1, 0] and said["COM"] == [0, 0, 0]
        assert (config.parent / said["render_asset"]).is_file()


def test_every_object_stands_on_its_origin(exported: tuple[Path, Manifest]) -> None:
    folder, manifest = exported
    assert set(manifest.objects) == set(OBJECTS)
    for kind, entry in manifest.objects.items():
        scene = read((folder / entry.config).with_name(f"{kind}.glb"))
        for geometry in scene.geometry.values():
            geometry.merge_vertices(merge_norm=True)
        assert all(solid.is_watertight and solid.volume > 0 for _, solid in solids(scene))
        w, h, d = OBJECTS[kind].size
        extent = {"box": (w, h, d), "cylinder": (w, h, w), "sphere": (w, w, w)}[OBJECTS[kind].shape]
        np.testing.assert_allclose(scene.extents, extent, atol=1e-4)
        np.testing.assert_allclose(scene.bounds, [entry.box.low, entry.box.high], atol=1e-4)
        assert scene.bounds.mean(axis=0)[[0, 2]] == pytest.approx([0, 0], abs=1e-4)
        if OBJECTS[kind].shape != "sphere":
            assert scene.bounds[0, 1] == pytest.approx(0, abs=1e-4)
    assert read(folder / "agents" / "agent_0.glb").bounds[:, 1] == pytest.approx([0, 1.7], abs=CENTIMETRE)


def test_normals_and_colours_are_the_descriptions() -> None:
    parts = tuple(
        Part(shape=shape, center=(0, 1, x), size=(0.5, 0.5, 0.5), color=color)
        for x, (shape, color) in enumerate(
            [("box", (0.8, 0.3, 0.25)), ("cylinder", (0.02, 0.5, 1.0)), ("sphere", (0.62, 0.44, 0.28))]
        )
    )
    piece = home("flywheel_val_000").furniture[0].model_copy(update={"parts": parts, "yaw": 0.3})
    scene = read(glb_bytes([furniture_node(piece)]))
    assert len(scene.geometry) == 3
    for number, part in enumerate(parts, 1):
        transform, name = scene.graph[f"{piece.name}/solid_{number}"]
        mesh = scene.geometry[name]
        agreement = np.einsum("fvk,fk->fv", mesh.vertex_normals[mesh.faces], mesh.face_normals)
        assert agreement.min() > (0.999 if part.shape == "box" else 0.85)
        np.testing.assert_allclose(np.linalg.norm(mesh.vertex_normals, axis=1), 1, atol=1e-5)
        assert np.linalg.det(transform[:3, :3]) == pytest.approx(0.125, rel=1e-4)
        linear = np.array(mesh.visual.material.baseColorFactor)[:3] / 255
        shown = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
        np.testing.assert_allclose(shown, part.color, atol=0.03)


def test_slots_lie_where_the_files_have_surfaces(exported: tuple[Path, Manifest]) -> None:
    folder, manifest = exported
    scene = read(folder / manifest.files.home)
    for piece in manifest.description.furniture:
        low, high = reach(scene, piece.name)
        box = manifest.boxes[piece.name]
        assert np.subtract(box.high, box.low)[1] == pytest.approx(high[1] - low[1], abs=1e-4)
        for slot in (*piece.on_slots, *piece.within_slots):
            assert np.all(np.array(slot) > low - CENTIMETRE) and np.all(np.array(slot) < high + CENTIMETRE)
    for room in manifest.description.rooms:
        x0, z0, x1, z1 = room.bounds
        assert all(x0 < x < x1 and y == 0 and z0 < z < z1 for x, y, z in manifest.description.floor_slots[room.name])
    tallest = max(box.high[1] for box in manifest.boxes.values())
    assert manifest.sight_height is not None
    assert tallest < manifest.sight_height < min(door.height for door in manifest.description.doors)


def test_parts_that_touch_move_as_one() -> None:
    fridge = furniture_parts(FURNITURE["fridge"])
    (leaf,) = moving_nodes("fridge_1", fridge)
    assert leaf.name == "fridge_1/door_1" and len(leaf.solids) == 2
    apart = tuple(Part(center=(x, 0.5, 0), size=(0.4, 1, 0.02), color=(1, 1, 1), role="door") for x in (-0.5, 0.5, 0.1))
    assert [len(node.solids) for node in moving_nodes("wardrobe_1", apart)] == [1, 2]
    between = Part(center=(-0.2, 0.5, 0), size=(0.3, 1, 0.02), color=(1, 1, 1), role="door")
    assert [len(node.solids) for node in moving_nodes("wardrobe_1", (*apart, between))] == [4]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}


def test_the_same_home_gives_the_same_bytes(exported: tuple[Path, Manifest], tmp_path: Path) -> None:
    folder, _ = exported
    script = f"""
from hitl_ops.worlds.habitat.home_export import export_home
from hitl_ops.worlds.household.catalog import OBJECT_SHAPES
from hitl_ops.worlds.household.layout import generate_home
export_home(generate_home("val", 1), dict(reversed(OBJECT_SHAPES.items())), {str(tmp_path / "again")!r})
"""
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    subprocess.run([sys.executable, "-c", script], check=True, env=environment)
    assert contents(tmp_path / "again") == contents(folder)
    other = export_home(home("flywheel_val_002"), OBJECT_SHAPES, tmp_path / "again")
    assert other.scene_id == "flywheel_val_002" == read_manifest(tmp_path / "again").scene_id
    assert contents(tmp_path / "again")["home.glb"] != contents(folder)["home.glb"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["again"]


def test_a_home_is_written_once_into_a_cache(tmp_path: Path) -> None:
    folder = cached_home(home("flywheel_val_001"), FEW_SHAPES, tmp_path)
    before = {file: file.stat().st_mtime_ns for file in folder.rglob("*")}
    assert cached_home(home("flywheel_val_001"), FEW_SHAPES, tmp_path) == folder
    assert {file: file.stat().st_mtime_ns for file in folder.rglob("*")} == before
    fewer = cached_home(home("flywheel_val_001"), {"mug": OBJECT_SHAPES["mug"]}, tmp_path)
    assert fewer != folder and set(read_manifest(fewer).objects) == {"mug"}
    assert cached_home(home("flywheel_val_002"), FEW_SHAPES, tmp_path) not in (folder, fewer)


@pytest.mark.slow
def test_killed_exports_leave_whole_homes(tmp_path: Path) -> None:
    target = tmp_path / "homes" / "home"
    whole = []
    for number in (1, 2):
        export_home(generate_home("val", number), FEW_SHAPES, tmp_path / "whole")
        whole.append(contents(tmp_path / "whole"))
    script = f"""
from hitl_ops.worlds.habitat.home_export import export_home
from hitl_ops.worlds.household.catalog import OBJECT_SHAPES
from hitl_ops.worlds.household.layout import generate_home
homes = [generate_home("val", number) for number in (1, 2)]
shapes = {{kind: OBJECT_SHAPES[kind] for kind in ("mug", "ball", "book")}}
print("ready", flush=True)
while True:
    for home in homes:
        export_home(home, shapes, {str(target)!r})
"""
    moments = random.Random(9)
    seen = set()
    for _ in range(12):
        writer = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
        assert writer.stdout is not None and writer.stdout.readline() == b"ready\n"
        time.sleep(moments.uniform(0.0, 0.3))
        writer.send_signal(signal.SIGKILL)
        assert writer.wait() == -signal.SIGKILL
        writer.stdout.close()
        if target.is_dir():
            seen.add(whole.index(contents(target)))
        sweep_temporaries(target.parent)
        assert {entry.name for entry in target.parent.iterdir()} <= {"home"}
    assert seen == {0, 1}


def test_nothing_else_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").write_text("friend")
    with pytest.raises(UserError, match="holds something else"):
        export_home(home("flywheel_val_001"), FEW_SHAPES, tmp_path / "letters")
    assert contents(tmp_path) == {"letters/dear.txt": b"friend"}


def test_names_that_cannot_be_files_are_refused(tmp_path: Path) -> None:
    shape = ObjectShape(kind="../mug", parts=OBJECT_SHAPES["mug"].parts)
    with pytest.raises(UserError, match=r"'\.\./mug' cannot be a file's name"):
        export_home(home("flywheel_val_001"), {"../mug": shape}, tmp_path / "home")
    described = home("flywheel_val_001")
    twice = described.model_copy(update={"furniture": (*described.furniture, described.furniture[0])})
    with pytest.raises(UserError, match=f"two things named '{described.furniture[0].name}'"):
        export_home(twice, FEW_SHAPES, tmp_path / "home")
    with pytest.raises(UserError, match="cannot be a file's name"):
        cached_home(described.model_copy(update={"scene_id": "../x"}), FEW_SHAPES, tmp_path)
    assert not list(tmp_path.iterdir())


def test_what_is_no_export_says_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no exported home"):
        read_manifest(tmp_path)
    (tmp_path / "manifest.json").write_text('{"versions": {}}')
    with pytest.raises(UserError, match="not a manifest of format 1"):
        read_manifest(tmp_path)


def test_turned_furniture_keeps_its_front() -> None:
    """Its front, local +z, shows where an agent that turned by its yaw would have its right hand."""
    for piece in home("flywheel_train_003").furniture:
        doors = [part for part in piece.parts if part.role == "door"]
        if not doors:
            continue
        scene = read(glb_bytes([furniture_node(piece)]))
        middle = reach(scene, f"{piece.name}/door_1").mean(axis=0) - piece.position
        depth = piece.size[2] / 2
        expected = (math.sin(piece.yaw) * depth, math.cos(piece.yaw) * depth)
        assert (middle[0], middle[2]) == pytest.approx(expected, abs=0.03)
