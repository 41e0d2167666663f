"""Homes as binary glTF 2.0 (GLB): a tree of named nodes, in which every solid is one of three shared meshes, scaled.

Written by hand: of glTF's many features this needs one buffer and plain nodes, and a file of few bytes. The layout is
that of the glTF 2.0 specification (Khronos Group, ISO/IEC 12113), sections 3.6 (buffers), 3.7 (meshes) and 4 (GLB).
"""

from __future__ import annotations

import functools
import json
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hitl_ops.worlds.household.renderer.solids import unit_mesh
from hitl_ops.worlds.household.scene_description import Color, Vec3

_SIDES, _RINGS = 16, 8
"""Multiples of four: what is round is then exactly as wide along x and z as its diameter."""
_FLOAT, _UNSIGNED_SHORT = 5126, 5123
_VERTICES, _INDICES = 34962, 34963
_ROUGHNESS = 0.9


@dataclass(frozen=True, slots=True)
class Solid:
    """A closed solid in its node's frame.

    Attributes:
        shape: box, cylinder (along y) or sphere.
        center: metres.
        size: extent along its own x, y, z.
        color: red, green, blue as a screen shows them (sRGB), 0 … 1.
        yaw: radians about +y.
        name: said after the node's name and a stroke; "" for ``solid_<n>``.
    """

    shape: str
    center: Vec3
    size: Vec3
    color: Color
    yaw: float = 0.0
    name: str = ""


@dataclass(frozen=True, slots=True)
class Node:
    """Something with a name, standing at a place and turned about +y; what it consists of stands in its frame."""

    name: str
    position: Vec3 = (0.0, 0.0, 0.0)
    yaw: float = 0.0
    solids: tuple[Solid, ...] = ()
    children: tuple[Node, ...] = ()


def glb_bytes(nodes: Sequence[Node], copyright_note: str = "") -> bytes:
    """A GLB file of one scene with ``nodes`` at its top; metres, y up, the same bytes for the same nodes."""
    draft = _Draft()
    top = [draft.add_node(node) for node in nodes]
    asset = {"version": "2.0", "generator": "Flywheel"} | ({"copyright": copyright_note} if copyright_note else {})
    document: dict[str, Any] = {
        "asset": asset,
        "scene": 0,
        "scenes": [{"nodes": top}],
        "nodes": draft.nodes,
    }
    if draft.meshes:
        document |= {
            "meshes": draft.meshes,
            "materials": draft.materials,
            "accessors": draft.accessors,
            "bufferViews": draft.views,
            "buffers": [{"byteLength": len(draft.binary)}],
        }
    text = json.dumps(document, separators=(",", ":"), ensure_ascii=True).encode()
    chunks = _chunk(b"JSON", text, b" ") + (_chunk(b"BIN\0", bytes(draft.binary), b"\0") if draft.meshes else b"")
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


def _chunk(kind: bytes, content: bytes, filler: bytes) -> bytes:
    padded = content + filler * (-len(content) % 4)
    return struct.pack("<I4s", len(padded), kind) + padded


@dataclass
class _Draft:
    """The document while it is being built; everything is added once and then referred to by its index."""

    nodes: list[dict[str, Any]] = field(default_factory=list)
    meshes: list[dict[str, Any]] = field(default_factory=list)
    materials: list[dict[str, Any]] = field(default_factory=list)
    accessors: list[dict[str, Any]] = field(default_factory=list)
    views: list[dict[str, Any]] = field(default_factory=list)
    binary: bytearray = field(default_factory=bytearray)
    mesh_of: dict[tuple[str, Color], int] = field(default_factory=dict)
    material_of: dict[Color, int] = field(default_factory=dict)
    shape_of: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add_node(self, node: Node) -> int:
        entry: dict[str, Any] = {"name": node.name, **_placed(node.position, node.yaw)}
        index = len(self.nodes)
        self.nodes.append(entry)
        children = [self._add_solid(node, number, solid) for number, solid in enumerate(node.solids, 1)]
        children += [self.add_node(child) for child in node.children]
        if children:
            entry["children"] = children
        return index

    def _add_solid(self, owner: Node, number: int, solid: Solid) -> int:
        entry: dict[str, Any] = {
            "name": f"{owner.name}/{solid.name or f'solid_{number}'}",
            **_placed(solid.center, solid.yaw),
            "scale": [_short(length) for length in solid.size],
            "mesh": self._mesh(solid.shape, solid.color),
        }
        self.nodes.append(entry)
        return len(self.nodes) - 1

    def _mesh(self, shape: str, color: Color) -> int:
        key = (shape, color)
        if key not in self.mesh_of:
            self.mesh_of[key] = len(self.meshes)
            primitive = {**self._shape(shape), "material": self._material(color)}
            self.meshes.append({"name": f"{shape} {_hex(color)}", "primitives": [primitive]})
        return self.mesh_of[key]

    def _material(self, color: Color) -> int:
        if color not in self.material_of:
            self.material_of[color] = len(self.materials)
            shine = {
                "baseColorFactor": [*(_short(_linear(share)) for share in color), 1],
                "metallicFactor": 0,
                "roughnessFactor": _ROUGHNESS,
            }
            self.materials.append({"name": _hex(color), "pbrMetallicRoughness": shine})
        return self.material_of[color]

    def _shape(self, shape: str) -> dict[str, Any]:
        if shape not in self.shape_of:
            positions, normals, triangles = _unit_solid(shape)
            place = self._accessor(positions, _VERTICES, "VEC3", positions)
            self.shape_of[shape] = {
                "attributes": {"POSITION": place, "NORMAL": self._accessor(normals, _VERTICES, "VEC3", None)},
                "indices": self._accessor(triangles, _INDICES, "SCALAR", None),
            }
        return self.shape_of[shape]

    def _accessor(
        self, values: NDArray[np.float32] | NDArray[np.uint16], target: int, kind: str, bounds: NDArray[Any] | None
    ) -> int:
        content = values.tobytes()
        start = len(self.binary)
        self.binary += content + b"\0" * (-len(content) % 4)
        self.views.append({"buffer": 0, "byteOffset": start, "byteLength": len(content), "target": target})
        component = _FLOAT if values.dtype == np.float32 else _UNSIGNED_SHORT
        entry = {"bufferView": len(self.views) - 1, "componentType": component, "count": len(values), "type": kind}
        if bounds is not None:
            entry |= {"min": bounds.min(axis=0).tolist(), "max": bounds.max(axis=0).tolist()}
        self.accessors.append(entry)
        return len(self.accessors) - 1


@functools.cache
def _unit_solid(shape: str) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.uint16]]:
    """Positions [n, 3], normals [n, 3] and triangles [3 m] of a solid of extent 1, its edges hard where it has any."""
    mesh = unit_mesh(shape, _SIDES, _RINGS)
    if shape != "box":
        return mesh.vertices[:, :3].copy(), mesh.vertices[:, 3:].copy(), mesh.triangles.ravel().astype("<u2")
    # The renderer's box keeps a face's normal at the last corner of each triangle; here every corner needs its own.
    corners = mesh.vertices[mesh.triangles, :3]
    normals = np.repeat(mesh.vertices[mesh.triangles[:, 2], 3:][:, None], 3, axis=1)
    rows, where = np.unique(np.concatenate([corners, normals], axis=2).reshape(-1, 6), axis=0, return_inverse=True)
    return rows[:, :3].astype("<f4"), rows[:, 3:].astype("<f4"), where.ravel().astype("<u2")


def _placed(position: Vec3, yaw: float) -> dict[str, Any]:
    placed: dict[str, Any] = {}
    if any(position):
        placed["translation"] = [_short(value) for value in position]
    turn = [0, _short(math.sin(yaw / 2), 9), 0, _short(math.cos(yaw / 2), 9)]
    if turn[1]:
        placed["rotation"] = turn
    return placed


def _short(value: float, digits: int = 6) -> float:
    """A number in few characters: micrometres are exact enough."""
    rounded = round(float(value), digits)
    return int(rounded) if rounded == int(rounded) else rounded


def _linear(share: float) -> float:
    """A screen's share of a colour as glTF wants it, in linear light (IEC 61966-2-1)."""
    return share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4


def _hex(color: Color) -> str:
    return "".join(f"{round(255 * min(1.0, max(0.0, share))):02x}" for share in color)
