"""A small scene of somebody's own, as a Habitat scene data set."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hitl_ops.worlds.habitat.glb import Node, Solid, glb_bytes


def put(path: Path, body: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(body))
    return path


def box(size: tuple[float, float, float], center: tuple[float, float, float]) -> Solid:
    return Solid("box", center, size, (0.5, 0.5, 0.5))


def own_scene(folder: Path, regions: bool) -> Path:
    """Two rooms of 4 m by 4 m with a wide doorway between them, a table, a chest that opens, and a vase on high."""
    walls = [((8.2, 2.5, 0.1), (4, 1.25, -0.05)), ((8.2, 2.5, 0.1), (4, 1.25, 4.05))]
    walls += [((0.1, 2.5, 4), (-0.05, 1.25, 2)), ((0.1, 2.5, 4), (8.05, 1.25, 2))]
    walls += [((0.1, 2.5, 1.4), (4, 1.25, 0.7)), ((0.1, 2.5, 1.4), (4, 1.25, 3.3))]
    solids = (box((8, 0.1, 4), (4, -0.05, 2)), *(box(size, center) for size, center in walls))
    assets = {
        "stages/flat.glb": Node("flat", solids=solids),
        "objects/table.glb": Node("table", solids=(box((1.2, 0.75, 0.7), (0, 0.375, 0)),)),
        "objects/vase.glb": Node("vase", solids=(box((0.3, 0.3, 0.3), (0, 0, 0)),)),
        "urdf/chest.glb": Node("chest", solids=(box((0.8, 0.6, 0.5), (0, 0.3, 0)),)),
    }
    for name, node in assets.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(glb_bytes([node]))
    put(folder / "stages" / "flat.stage_config.json", {"render_asset": "flat.glb", "up": [0, 1, 0]})
    for name in ("table", "vase"):
        put(folder / "objects" / f"{name}.object_config.json", {"render_asset": f"{name}.glb"})
    put(folder / "urdf" / "chest.ao_config.json", {})
    objects = [
        {"template_name": "table", "translation": [2.0, 0.0, 2.0]},
        {"template_name": "vase", "translation": [1.0, 2.0, 1.0]},
    ]
    instance = {
        "stage_instance": {"template_name": "stages/flat"},
        "object_instances": objects,
        "articulated_object_instances": [{"template_name": "chest", "translation": [6.0, 0.0, 3.6]}],
    }
    put(folder / "scenes" / "flat.scene_instance.json", instance)
    if regions:
        both = [("bedroom.001", "bedroom", [0, 0, 0], [4, 2.5, 4])]
        both += [("0_1", "living room/lounge", [4, 0, 0], [8, 2.5, 4])]
        told = [{"name": n, "label": kind, "min_bounds": low, "max_bounds": high} for n, kind, low, high in both]
        put(folder / "semantics" / "flat.semantic_config.json", {"region_annotations": told})
    kinds = {"stages": "stages", "objects": "objects", "articulated_objects": "urdf", "scene_instances": "scenes"}
    body = {kind: {"paths": {".json": [place]}} for kind, place in kinds.items()}
    return put(folder / "own.scene_dataset_config.json", body)
