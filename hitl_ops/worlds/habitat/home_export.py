"""A generated home as files that other engines read: GLB, Habitat's configurations, and a manifest.

Two files hold the home because their readers differ. ``home.glb`` has everything that moves as nodes of its own, for
viewers that move nodes: the browser, Blender. Habitat-sim takes a stage as one static mesh and moves only rigid
objects; so ``stage.glb`` has what never moves, and every door leaf and furniture door is an object in ``moving/``.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.publish import publishing
from hitl_ops.worlds.habitat.glb import Node, glb_bytes
from hitl_ops.worlds.habitat.home_manifest import (
    FORMAT,
    MANIFEST,
    Files,
    Manifest,
    MovingPart,
    NodeEntry,
    ObjectEntry,
    Versions,
)
from hitl_ops.worlds.habitat.home_nodes import (
    WALLS,
    agent_node,
    door_nodes,
    furniture_node,
    moving_nodes,
    node_box,
    object_node,
    room_nodes,
)
from hitl_ops.worlds.household.renderer.structure import ceiling_height
from hitl_ops.worlds.household.scene_description import ObjectShape, SceneDescription

AGENTS = 2
"""How many agents' bodies are written."""
FILES = Files(
    home="home.glb",
    stage="stage.glb",
    stage_config="home.stage_config.json",
    scene_dataset_config="home.scene_dataset_config.json",
)
_OBJECT_CONFIG = ".object_config.json"
_FRAME = {"up": [0, 1, 0], "front": [0, 0, -1]}  # without it some versions of habitat-sim take z as up
_MARGIN = 0.01
_NAME = re.compile(r"[A-Za-z0-9_-]{1,100}")


def home_glb(description: SceneDescription) -> bytes:
    """The whole home as one GLB, every door closed."""
    return glb_bytes([*room_nodes(description), *door_nodes(description), *map(furniture_node, description.furniture)])


def export_home(description: SceneDescription, shapes: Mapping[str, ObjectShape], folder: str | Path) -> Manifest:
    """Write a home into ``folder``, which appears whole or not at all; an older export there is replaced.

    The same home, shapes and version give the same bytes.

    Args:
        description: the home.
        shapes: object kind → how it is drawn; each becomes an object of its own.
        folder: where to.

    Raises:
        UserError: the folder holds something else, or a name cannot be a file's.
        CannotWrite: the disk is full or the place cannot be written.
    """
    target = Path(folder)
    if target.is_dir() and any(target.iterdir()) and not (target / MANIFEST).is_file():
        raise UserError(f"'{target}' holds something else", "name an empty or a new folder")
    manifest, files = _contents(description, shapes)
    with publishing(target) as draft:
        for name, content in files.items():
            (draft / name).parent.mkdir(parents=True, exist_ok=True)
            (draft / name).write_bytes(content)
    return manifest


def cached_home(description: SceneDescription, shapes: Mapping[str, ObjectShape], cache: str | Path) -> Path:
    """The folder of a home's export under ``cache``, written unless this version of Flywheel wrote it before.

    Raises:
        UserError: as ``export_home``.
    """
    drawn = {kind: shape.model_dump(mode="json") for kind, shape in sorted(shapes.items())}
    made_from = json.dumps([_versions().model_dump(), description.model_dump(mode="json"), drawn], sort_keys=True)
    digest = hashlib.sha256(made_from.encode()).hexdigest()[:16]
    folder = Path(cache) / f"{_file_name(description.scene_id)}-{digest}"
    if not (folder / MANIFEST).is_file():
        export_home(description, shapes, folder)
    return folder


# --- contents --------------------------------------------------------------------------------------------------


def _contents(description: SceneDescription, shapes: Mapping[str, ObjectShape]) -> tuple[Manifest, dict[str, bytes]]:
    doors = door_nodes(description)
    semantic = _semantic_ids(description)
    moving = [(node, node.name, node.position, node.yaw) for node in doors]
    for piece in description.furniture:
        moving += [(node, piece.name, piece.position, piece.yaw) for node in moving_nodes(piece.name, piece.parts)]
    files = {FILES.home: home_glb(description), FILES.stage: glb_bytes(_fixed(description))}
    files[FILES.stage_config] = _json(
        {"render_asset": FILES.stage, "collision_asset": FILES.stage, **_FRAME, "origin": [0, 0, 0], "margin": _MARGIN}
    )
    parts = []
    for node, owner, position, yaw in moving:
        frame = Node(node.name, solids=node.solids)
        config = _add_object(files, "moving", node.name.replace("/", "-"), frame, semantic[owner])
        parts.append(MovingPart(node=node.name, of=owner, config=config, position=position, yaw=yaw))
    first = len(semantic) + 1
    objects, agents = {}, {}
    for number, kind in enumerate(sorted(shapes), first):
        config = _add_object(files, "objects", kind, object_node(shapes[kind]), number)
        objects[kind] = ObjectEntry(config=config, box=node_box(object_node(shapes[kind])), semantic_id=number)
    for number in range(AGENTS):
        node, label = agent_node(number), first + len(objects) + number
        config = _add_object(files, "agents", node.name, node, label, collidable=False)
        agents[node.name] = ObjectEntry(config=config, box=node_box(node), semantic_id=label)
    files[FILES.scene_dataset_config] = _json(
        {
            "stages": {"paths": {".json": [FILES.stage_config]}},
            "objects": {"paths": {".json": ["objects", "moving", "agents"]}},
        }
    )
    manifest = Manifest(
        versions=_versions(),
        scene_id=description.scene_id,
        files=FILES,
        description=description,
        nodes=tuple(_node_entries(description, semantic)),
        boxes={piece.name: node_box(furniture_node(piece)) for piece in description.furniture},
        moving_parts=tuple(parts),
        objects=objects,
        agents=agents,
        semantic_ids=semantic,
        sight_height=_sight_height(description),
    )
    files[MANIFEST] = _json(manifest.model_dump(mode="json"))
    return manifest, files


def _fixed(description: SceneDescription) -> list[Node]:
    """Everything that never moves."""
    return [*room_nodes(description), *(furniture_node(piece, moving=False) for piece in description.furniture)]


def _add_object(
    files: dict[str, bytes], room: str, name: str, node: Node, semantic_id: int, collidable: bool = True
) -> str:
    """Add a rigid object's GLB and config to ``files``; returns the config's path."""
    asset = f"{_file_name(name)}.glb"
    files[f"{room}/{asset}"] = glb_bytes([node])
    config: dict[str, Any] = {
        "render_asset": asset,
        "collision_asset": asset,
        **_FRAME,
        "margin": _MARGIN,
        "COM": [0, 0, 0],  # else its frame would be moved to the middle of its bounding box
        "join_collision_meshes": False,  # else a leaf would be as thick as its knob
        "is_collidable": collidable,
        "semantic_id": semantic_id,
    }
    path = f"{room}/{name}{_OBJECT_CONFIG}"
    files[path] = _json(config)
    return path


def _semantic_ids(description: SceneDescription) -> dict[str, int]:
    names = [
        WALLS,
        "ceiling",
        *(f"floor_{room.name}" for room in description.rooms),
        *(door.name for door in description.doors),
        *(piece.name for piece in description.furniture),
    ]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UserError(f"home '{description.scene_id}' has two things named '{twice}'", "give each its own name")
    return {name: number for number, name in enumerate(names, 1)}


def _node_entries(description: SceneDescription, semantic: Mapping[str, int]) -> Iterable[NodeEntry]:
    """One entry for every node of the whole home that has a name of its own."""
    for room in description.rooms:
        floor, ceiling = f"floor_{room.name}", f"ceiling_{room.name}"
        yield NodeEntry(name=floor, kind="floor", of=room.name, semantic_id=semantic[floor])
        yield NodeEntry(name=ceiling, kind="ceiling", of=room.name, semantic_id=semantic["ceiling"])
    yield NodeEntry(name=WALLS, kind="walls", of=description.scene_id, semantic_id=semantic[WALLS])
    for door in description.doors:
        yield NodeEntry(name=door.name, kind="door", of=door.name, semantic_id=semantic[door.name])
    for piece in description.furniture:
        label = semantic[piece.name]
        yield NodeEntry(name=piece.name, kind="furniture", of=piece.name, semantic_id=label)
        moving = {node.name for node in moving_nodes(piece.name, piece.parts)}
        for node in furniture_node(piece).children:
            kind: Literal["moving_part", "lamp"] = "moving_part" if node.name in moving else "lamp"
            yield NodeEntry(name=node.name, kind=kind, of=piece.name, semantic_id=label)


def _sight_height(description: SceneDescription) -> float | None:
    """Halfway between the tallest furniture and the lowest doorway."""
    tallest = max((node_box(furniture_node(piece)).high[1] for piece in description.furniture), default=0.0)
    lowest = min((door.height for door in description.doors), default=ceiling_height(description))
    return round((tallest + lowest) / 2, 6) if tallest < lowest else None


def _versions() -> Versions:
    return Versions(format=FORMAT, flywheel=importlib.metadata.version("flywheel-hitl"))


def _file_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise UserError(f"'{name}' cannot be a file's name", "use letters, digits, '_' and '-'")
    return name


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
