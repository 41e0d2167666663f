"""What a scene data set's authors say of its furniture: where things can be placed, and which links open.

Receptacles stand in ``user_defined`` of object and articulated object configurations under keys that begin with
``receptacle_aabb_`` or ``receptacle_mesh_``; a scene's filter file says which of them are out of use and which are
inside. The form is that of habitat-lab's documentation ("Taxonomy of user_defined configurations"). Joints are URDF's
(http://wiki.ros.org/urdf/XML/joint). All of it is read from files, without habitat-sim.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from hitl_ops.contracts.errors import UserError
from hitl_ops.worlds.habitat.triangle_meshes import Triangles, UnreadMesh, read_meshes, rotation_matrix
from hitl_ops.worlds.habitat.users_scenes import SceneDataSet, SceneFiles, read_config

_PREFIX, _BOX, _MESH = "receptacle_", "receptacle_aabb_", "receptacle_mesh_"
_UNUSED = ("manually_filtered", "access_filtered", "stability_filtered", "height_filtered")
_APART = 0.3  # metres between two places of a receptacle, at least
_MOST_A_SIDE = 4
_OPENS_BY = {"prismatic": 0.02, "revolute": 0.1}
"""Metres, and radians, that a joint has to give way for its link to count as one that opens."""

Point = tuple[float, float, float]


@dataclass
class SceneAnnotations:
    """All that was understood of a scene's annotations.

    Attributes:
        objects: template of each rigid object that has any → its receptacles: ``{"name", "link", "points"}``, points
            in the object's own frame.
        articulated: template of each articulated object → ``{"receptacles", "opens"}``; points in the frame of the
            receptacle's link; link that opens → its joint's limits, metres or radians; ``opens`` is None where nobody
            says which do.
        unused: texts in the names (``<handle>|<receptacle>``) of receptacles that are out of use.
        inside: the same for receptacles that are inside.
        left_out: what was not understood → how often.
    """

    objects: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    articulated: dict[str, dict[str, Any]] = field(default_factory=dict)
    unused: list[str] = field(default_factory=list)
    inside: list[str] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)

    def told(self) -> dict[str, Any]:
        """As a scene's worker takes it."""
        return {
            "objects": self.objects,
            "articulated": self.articulated,
            "unused": self.unused,
            "inside": self.inside,
        }

    def sentence(self, scene_id: str) -> str:
        """One line on what was not understood; empty where all was."""
        if not self.left_out:
            return ""
        counted = ", ".join(f"{count} × {what}" for what, count in sorted(self.left_out.items()))
        return f"scene '{scene_id}': not understood of its annotations: {counted}"


def read_annotations(data: SceneDataSet, files: SceneFiles) -> SceneAnnotations:
    """Read a scene's annotations; what is not understood is counted, and no error.

    Args:
        data: the data set.
        files: the scene's.

    Raises:
        UserError: a configuration that habitat-sim reads too is missing or damaged.
    """
    found = SceneAnnotations()
    for template, config in files.objects.items():
        receptacles = _receptacles(_user_defined(read_config(config, "object")), config.parent, None, found.left_out)
        if receptacles:
            found.objects[_name(template)] = receptacles
    for template, config in files.articulated.items():
        found.articulated[_name(template)] = _articulated(config, found.left_out)
    _count_keys(_user_defined(read_config(files.stage, "stage")), "receptacle of the stage", found.left_out)
    if files.instance is not None:
        body = read_config(files.instance, "scene")
        for entries in ("object_instances", "articulated_object_instances"):
            for entry in body.get(entries, []):
                _count_keys(_user_defined(entry), "receptacle of a single instance", found.left_out)
        _read_filters(data.path.parent, _user_defined(body).get("scene_filter_file"), found)
    return found


def _name(template: str) -> str:
    """A template's name as instance handles begin with it."""
    return Path(template).name.split(".object_config")[0].split(".ao_config")[0].removesuffix(".urdf")


def _user_defined(body: Any) -> dict[str, Any]:
    told = body.get("user_defined") if isinstance(body, dict) else None
    return told if isinstance(told, dict) else {}


def _count_keys(user_defined: dict[str, Any], what: str, left_out: Counter[str]) -> None:
    count = sum(key.startswith(_PREFIX) for key in user_defined)
    if count:
        left_out[what] += count


def _read_filters(root: Path, named: object, found: SceneAnnotations) -> None:
    """Which receptacles are out of use, and which are inside."""
    if not isinstance(named, str) or not named:
        return
    try:
        body = read_config(root / named, "filter file")
    except UserError:
        found.left_out["filter file that is missing or damaged"] += 1
        return
    found.unused = [text for kind in _UNUSED for text in _texts(body.get(kind))]
    found.inside = _texts(body.get("within_set"))


def _texts(listed: object) -> list[str]:
    return [one for one in listed if isinstance(one, str) and one] if isinstance(listed, list) else []


# --- articulated objects --------------------------------------------------------------------------------------------


def _articulated(config: Path, left_out: Counter[str]) -> dict[str, Any]:
    user_defined: dict[str, Any] = {}
    urdf: Path | None = config
    if config.suffix != ".urdf":
        body = read_config(config, "articulated object")
        user_defined, named = _user_defined(body), body.get("urdf_filepath")
        urdf = config.parent / named if isinstance(named, str) and named else None
    opens, links = _joints(urdf, left_out)
    return {"receptacles": _receptacles(user_defined, config.parent, links, left_out), "opens": opens}


def _joints(urdf: Path | None, left_out: Counter[str]) -> tuple[dict[str, list[float]] | None, set[str]]:
    """Link that opens → limits of its joint, None where nobody says; and the names of all links."""
    try:
        robot = ElementTree.parse(urdf).getroot() if urdf is not None else None
    except (OSError, ElementTree.ParseError, ValueError):
        robot = None
    if robot is None:
        left_out["articulated object without a readable URDF"] += 1
        return None, set()
    opens: dict[str, list[float]] = {}
    for joint in robot.iter("joint"):
        kind, child, limit = joint.get("type", ""), joint.find("child"), joint.find("limit")
        if kind == "fixed":
            continue
        try:
            if kind not in _OPENS_BY or child is None or limit is None:
                raise ValueError
            lower, upper = float(limit.get("lower", 0)), float(limit.get("upper", 0))
            if not (math.isfinite(lower) and math.isfinite(upper) and lower <= upper):
                raise ValueError
        except ValueError:
            left_out["joint that is no hinge or slide with limits"] += 1
            continue
        if upper - lower >= _OPENS_BY[kind]:
            opens[child.get("link", "")] = [lower, upper]
    return opens, {link.get("name", "") for link in robot.iter("link")}


# --- receptacles ----------------------------------------------------------------------------------------------------


def _receptacles(
    user_defined: dict[str, Any], folder: Path, links: set[str] | None, left_out: Counter[str]
) -> list[dict[str, Any]]:
    """Receptacles of a configuration.

    ``links`` are those of an articulated object, none where nobody knows; None for a rigid one, which has none.
    """
    found: list[dict[str, Any]] = []
    for key, entry in user_defined.items():
        if not key.startswith(_PREFIX):
            continue
        try:
            found += _receptacle(key, entry, folder, links)
        except UnreadMesh as error:
            left_out[f"receptacle with {error}" if str(error).startswith("a ") else f"receptacle: {error}"] += 1
        except (TypeError, ValueError):
            left_out["receptacle that is told otherwise than documented"] += 1
    return found


def _receptacle(key: str, entry: Any, folder: Path, links: set[str] | None) -> list[dict[str, Any]]:
    """One entry: a box is one receptacle, a file one for each of its meshes.

    Raises:
        UnreadMesh: its mesh is not understood.
        TypeError: a value is of another kind.
        ValueError: a value is missing, or cannot be.
    """
    if not isinstance(entry, dict):
        raise TypeError
    name, link = entry.get("name", key), entry.get("parent_link", "")
    if not isinstance(name, str) or not isinstance(link, str):
        raise ValueError
    if (links is None and link) or (links and link not in links):
        raise ValueError
    place, scale = _vector(entry.get("position")), _vector(entry.get("scale"))
    up = _vector(entry.get("up", (0.0, 1.0, 0.0)))
    turn = np.array(entry.get("rotation", (1.0, 0.0, 0.0, 0.0)), dtype=np.float64)
    if turn.shape != (4,) or not abs(float(np.linalg.norm(turn)) - 1) < 0.01 or not np.linalg.norm(up) > 0.1:
        raise ValueError
    rotation = rotation_matrix(*turn)
    if key.startswith(_BOX):
        points = _on_box(np.abs(scale), rotation.T @ up) @ rotation.T + place
        return [_told(name, link, points)]
    mesh_file = entry.get("mesh_filepath")
    if not key.startswith(_MESH) or not isinstance(mesh_file, str) or not mesh_file:
        raise ValueError
    told = []
    for number, mesh in enumerate(read_meshes(folder / mesh_file)):
        points = _on_mesh((mesh * scale) @ rotation.T + place, up)
        told.append(_told(f"{name}.{number:04d}", link, points))
    return told


def _told(name: str, link: str, points: NDArray[np.float64]) -> dict[str, Any]:
    return {"name": name, "link": link, "points": [[float(value) for value in point] for point in points]}


def _vector(value: Any) -> NDArray[np.float64]:
    vector = np.array(value, dtype=np.float64)
    if vector.shape != (3,) or not np.isfinite(vector).all():
        raise ValueError
    return vector


def _steps(low: float, high: float) -> NDArray[np.float64]:
    """Middles of equal pieces of a side."""
    count = max(1, min(_MOST_A_SIDE, int((high - low) / _APART)))
    return low + (high - low) * (np.arange(count) + 0.5) / count


def _on_box(half: NDArray[np.float64], up: NDArray[np.float64]) -> NDArray[np.float64]:
    """Places on the lowest face of a box around the origin, [n, 3]; ``half`` is half its size."""
    axis = int(np.argmax(np.abs(up)))
    first, second = (one for one in range(3) if one != axis)
    points = []
    for u in _steps(-half[first], half[first]):
        for v in _steps(-half[second], half[second]):
            point = np.zeros(3)
            point[first], point[second], point[axis] = u, v, -math.copysign(half[axis], up[axis])
            points.append(point)
    return np.array(points)


def _on_mesh(mesh: Triangles, up: NDArray[np.float64]) -> NDArray[np.float64]:
    """Places on a mesh, [n, 3]: where lines along its up axis meet it first, from above.

    In its largest triangle's middle where they all miss it.
    """
    axis = int(np.argmax(np.abs(up)))
    first, second = (one for one in range(3) if one != axis)
    flat, heights = mesh[:, :, (first, second)], mesh[:, :, axis]
    edge_a, edge_b = flat[:, 1] - flat[:, 0], flat[:, 2] - flat[:, 0]
    areas = edge_a[:, 0] * edge_b[:, 1] - edge_a[:, 1] * edge_b[:, 0]
    whole = np.abs(areas) > 1e-12
    points = []
    low, high = flat.min(axis=(0, 1)), flat.max(axis=(0, 1))
    for u in _steps(low[0], high[0]):
        for v in _steps(low[1], high[1]):
            away = np.array((u, v)) - flat[whole, 0]
            share_a = (away[:, 0] * edge_b[whole, 1] - away[:, 1] * edge_b[whole, 0]) / areas[whole]
            share_b = (edge_a[whole, 0] * away[:, 1] - edge_a[whole, 1] * away[:, 0]) / areas[whole]
            inside = (share_a >= -1e-9) & (share_b >= -1e-9) & (share_a + share_b <= 1 + 1e-9)
            if not inside.any():
                continue
            corner = heights[whole][inside]
            a, b = share_a[inside], share_b[inside]
            met = corner[:, 0] * (1 - a - b) + corner[:, 1] * a + corner[:, 2] * b
            point = np.zeros(3)
            point[first], point[second] = u, v
            point[axis] = met.max() if up[axis] > 0 else met.min()
            points.append(point)
    if not points:
        points.append(mesh[int(np.argmax(np.abs(areas)))].mean(axis=0))
    return np.array(points)
