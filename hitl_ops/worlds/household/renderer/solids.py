"""The unit solids everything is made of, as triangles: each of extent 1 around the origin."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SHAPES = ("box", "floor", "cylinder", "sphere")
"""Order in which solids are kept and drawn; a floor is the top of a box."""

_SIDES = 14
_RINGS = 7


@dataclass(frozen=True)
class Mesh:
    """Triangles, anticlockwise seen from outside.

    Attributes:
        vertices: float32 [n, 6], position then normal.
        triangles: int32 [m, 3].
    """

    vertices: NDArray[np.float32]
    triangles: NDArray[np.int32]


def unit_mesh(shape: str, sides: int = _SIDES, rings: int = _RINGS) -> Mesh:
    """The mesh of one of ``SHAPES``; what is round has ``sides`` around, a sphere ``rings`` from pole to pole."""
    if shape == "cylinder":
        return _cylinder(sides)
    if shape == "sphere":
        return _sphere(sides, rings)
    return {"box": _box, "floor": _top}[shape]()


def _box() -> Mesh:
    """A cube of 8 vertices for flat shading.

    Software GL spends most of its time on vertices, so faces share corners: each face takes its normal from
    the last vertex of its triangles, and every face has such a corner to itself.
    """
    corners = [tuple((k >> axis & 1) - 0.5 for axis in range(3)) for k in range(8)]
    faces = [(axis, side) for axis in range(3) for side in (-0.5, 0.5)]
    on_face = [[k for k in range(8) if corners[k][axis] == side] for axis, side in faces]
    owners = next(p for p in itertools.permutations(range(8), 6) if all(p[j] in on_face[j] for j in range(6)))
    normals = np.zeros((8, 3))
    triangles = []
    for owner, (axis, side), members in zip(owners, faces, on_face, strict=True):
        normals[owner, axis] = 2 * side
        opposite = next(k for k in members if (k ^ owner).bit_count() == 2)
        for neighbour in members:
            if neighbour in (owner, opposite):
                continue
            a, b, c = (np.array(corners[k]) for k in (neighbour, opposite, owner))
            outward = float(np.cross(b - a, c - a)[axis]) * side > 0
            triangles.append((neighbour, opposite, owner) if outward else (opposite, neighbour, owner))
    return _mesh(np.array(corners), normals, triangles)


def _top() -> Mesh:
    corners = np.array([(x, 0.5, z) for x, z in ((-0.5, -0.5), (-0.5, 0.5), (0.5, 0.5), (0.5, -0.5))])
    return _mesh(corners, np.tile((0.0, 1.0, 0.0), (4, 1)), [(0, 1, 2), (0, 2, 3)])


def _cylinder(sides: int) -> Mesh:
    angles = [2 * math.pi * k / sides for k in range(sides)]
    rim = np.array([(math.cos(a), 0.0, -math.sin(a)) for a in angles])
    positions, normals, triangles = [], [], []
    for y in (-0.5, 0.5):
        positions.append(rim * 0.5 + (0.0, y, 0.0))
        normals.append(rim)
    for k in range(sides):
        after = (k + 1) % sides
        triangles += [(k, after, sides + after), (k, sides + after, sides + k)]
    for y in (-0.5, 0.5):
        first = sum(len(p) for p in positions)
        positions.append(rim * 0.5 + (0.0, y, 0.0))
        normals.append(np.tile((0.0, 2 * y, 0.0), (sides, 1)))
        for k in range(1, sides - 1):
            fan = (first, first + k, first + k + 1)
            triangles.append(fan if y > 0 else (fan[0], fan[2], fan[1]))
    return _mesh(np.concatenate(positions), np.concatenate(normals), triangles)


def _sphere(sides: int, rings: int) -> Mesh:
    points = [(0.0, 1.0, 0.0)]
    for ring in range(1, rings):
        polar = math.pi * ring / rings
        for k in range(sides):
            around = 2 * math.pi * k / sides
            points.append((math.sin(polar) * math.cos(around), math.cos(polar), -math.sin(polar) * math.sin(around)))
    points.append((0.0, -1.0, 0.0))
    last = len(points) - 1
    triangles = []
    for k in range(sides):
        after = (k + 1) % sides
        triangles.append((0, 1 + k, 1 + after))
        bottom = 1 + (rings - 2) * sides
        triangles.append((last, bottom + after, bottom + k))
        for ring in range(rings - 2):
            upper, lower = 1 + ring * sides, 1 + (ring + 1) * sides
            triangles += [(upper + k, lower + k, lower + after), (upper + k, lower + after, upper + after)]
    normals = np.array(points)
    return _mesh(normals * 0.5, normals, triangles)


def _mesh(positions: NDArray[np.float64], normals: NDArray[np.float64], triangles: list[tuple[int, int, int]]) -> Mesh:
    return Mesh(np.hstack([positions, normals]).astype(np.float32), np.array(triangles, dtype=np.int32))
