"""What the double knows of geometry: GLB files as triangles, rays against them, and ways around their boxes."""

from __future__ import annotations

import heapq
import json
import math
import struct

import numpy as np

_CELL = 0.1
_FAR_PLACE = 2.0
Place = tuple


class Solids:
    """The triangles of a GLB file, and the box around each of its meshes; in the file's frame.

    Attributes:
        triangles: [n, 3, 3].
        colors: uint8 [n, 3].
        boxes: [m, 2, 3], low and high corner.
    """

    def __init__(self, path: str) -> None:
        with open(path, "rb") as file:
            data = file.read()
        magic, version, _ = struct.unpack_from("<4sII", data)
        if magic != b"glTF" or version != 2:
            raise RuntimeError(f"{path} is no GLB")
        (length,) = struct.unpack_from("<I", data, 12)
        self._document = json.loads(data[20 : 20 + length])
        self._binary = data[20 + length + 8 :]
        triangles, colors, boxes = [], [], []
        for index in self._document["scenes"][0]["nodes"]:
            self._visit(index, np.eye(4), triangles, colors, boxes)
        self.triangles = np.concatenate(triangles)
        self.colors = np.concatenate(colors)
        self.boxes = np.array(boxes)

    @classmethod
    def cube(cls, edge: float) -> Solids:
        """A cube around the origin."""
        made = cls.__new__(cls)
        corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) * edge / 2
        faces = [(0, 1, 3), (0, 3, 2), (4, 6, 7), (4, 7, 5), (0, 4, 5), (0, 5, 1)]
        faces += [(2, 3, 7), (2, 7, 6), (0, 2, 6), (0, 6, 4), (1, 5, 7), (1, 7, 3)]
        made.triangles = corners[np.array(faces)]
        made.colors = np.full((len(faces), 3), 200, dtype=np.uint8)
        made.boxes = np.array([[corners.min(axis=0), corners.max(axis=0)]])
        return made

    def _visit(self, index: int, above: np.ndarray, triangles: list, colors: list, boxes: list) -> None:
        node = self._document["nodes"][index]
        matrix = np.eye(4)
        x, y, z, w = node.get("rotation", (0, 0, 0, 1))
        matrix[:3, :3] = [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
        matrix[:3, :3] *= np.array(node.get("scale", (1, 1, 1)))
        matrix[:3, 3] = node.get("translation", (0, 0, 0))
        matrix = above @ matrix
        if "mesh" in node:
            for primitive in self._document["meshes"][node["mesh"]]["primitives"]:
                corners = self._array(primitive["attributes"]["POSITION"]) @ matrix[:3, :3].T + matrix[:3, 3]
                found = corners[self._array(primitive["indices"]).reshape(-1, 3)]
                triangles.append(found)
                material = self._document["materials"][primitive["material"]]
                base = material["pbrMetallicRoughness"]["baseColorFactor"][:3]
                colors.append(np.tile((np.array(base) * 255).astype(np.uint8), (len(found), 1)))
                boxes.append((corners.min(axis=0), corners.max(axis=0)))
        for child in node.get("children", ()):
            self._visit(child, matrix, triangles, colors, boxes)

    def _array(self, index: int) -> np.ndarray:
        accessor = self._document["accessors"][index]
        view = self._document["bufferViews"][accessor["bufferView"]]
        start, length = view.get("byteOffset", 0), view["byteLength"]
        values = np.frombuffer(
            self._binary[start : start + length], {5126: "<f4", 5123: "<u2"}[accessor["componentType"]]
        )
        return values.reshape(-1, 3).astype(float) if accessor["type"] == "VEC3" else values.astype(int)


def hits(triangles: np.ndarray, origins: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """How far rays [r, 3] go until each triangle [n, 3, 3]: [r, n], inf where they miss (Möller and Trumbore 1997)."""
    corner = triangles[:, 0]
    one, other = triangles[:, 1] - corner, triangles[:, 2] - corner
    across = np.cross(directions[:, None], other[None])
    determinant = (across * one).sum(-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        from_corner = origins[:, None] - corner[None]
        u = (from_corner * across).sum(-1) / determinant
        aside = np.cross(from_corner, one[None])
        v = (aside * directions[:, None]).sum(-1) / determinant
        away = (aside * other).sum(-1) / determinant
        meets = (np.abs(determinant) > 1e-12) & (u >= 0) & (v >= 0) & (u + v <= 1) & (away >= 0)
    return np.where(meets, away, np.inf)


class Floor:
    """Where an agent's centre may be: on a floor, clear of all boxes that are neither below its step nor above it."""

    def __init__(self, boxes: np.ndarray, clearance: float, climb: float, height: float) -> None:
        low, high = boxes[:, 0], boxes[:, 1]
        flat = (high[:, 1] <= climb) & (low[:, 1] < 0)
        in_the_way = (high[:, 1] > climb) & (low[:, 1] < height)
        self._floors = np.concatenate([low[flat][:, (0, 2)], high[flat][:, (0, 2)]], axis=1)
        self._blocks = np.concatenate(
            [low[in_the_way][:, (0, 2)] - clearance, high[in_the_way][:, (0, 2)] + clearance], 1
        )
        self._x0, self._z0 = self._floors[:, :2].min(axis=0)
        x1, z1 = self._floors[:, 2:].max(axis=0)
        columns, rows = math.ceil((x1 - self._x0) / _CELL), math.ceil((z1 - self._z0) / _CELL)
        xs = self._x0 + (np.arange(columns) + 0.5) * _CELL
        zs = self._z0 + (np.arange(rows) + 0.5) * _CELL
        self._free = np.zeros((rows, columns), dtype=bool)
        for left, near, right, far in self._floors:
            self._free[np.ix_((zs >= near) & (zs <= far), (xs >= left) & (xs <= right))] = True
        for left, near, right, far in self._blocks:
            self._free[np.ix_((zs > near) & (zs < far), (xs > left) & (xs < right))] = False
        self._centers = np.stack(np.meshgrid(xs, zs), axis=-1)
        self._trees: dict = {}

    def _is_free(self, place: Place) -> bool:
        x, z = place
        left, near, right, far = self._floors.T
        if not ((x >= left) & (x <= right) & (z >= near) & (z <= far)).any():
            return False
        left, near, right, far = self._blocks.T
        return not ((x > left) & (x < right) & (z > near) & (z < far)).any()

    def _is_clear(self, a: Place, b: Place) -> bool:
        """Whether a straight line between two free places meets no block (slabs, Kay and Kajiya 1986)."""
        start, span = np.array(a), np.array(b) - np.array(a)
        with np.errstate(divide="ignore", invalid="ignore"):
            first = (self._blocks[:, :2] + 1e-9 - start) / span
            second = (self._blocks[:, 2:] - 1e-9 - start) / span
        outside = (span == 0) & ((start <= self._blocks[:, :2]) | (start >= self._blocks[:, 2:]))
        enter = np.where(span == 0, -np.inf, np.minimum(first, second)).max(axis=1)
        leave = np.where(span == 0, np.inf, np.maximum(first, second)).min(axis=1)
        return not ((enter < leave) & (leave > 0) & (enter < 1) & ~outside.any(axis=1)).any()

    def any_place(self, random: np.random.Generator) -> Place:
        """The middle of some free cell."""
        cells = np.argwhere(self._free)
        return tuple(self._centers[tuple(cells[random.integers(len(cells))])].tolist())

    @property
    def bounds(self) -> tuple:
        """x0, z0, x1, z1 of all free cells."""
        centers = self._centers[self._free]
        return (*centers.min(axis=0).tolist(), *centers.max(axis=0).tolist())

    def snap(self, place: Place) -> Place | None:
        """The nearest free place."""
        if self._is_free(place):
            return place
        away = np.where(self._free, np.linalg.norm(self._centers - place, axis=-1), np.inf)
        cell = np.unravel_index(int(away.argmin()), away.shape)
        return tuple(self._centers[cell].tolist()) if away[cell] <= _FAR_PLACE else None

    def step(self, start: Place, end: Place) -> Place:
        """Where a step ends: at its end, along one axis, or where it began."""
        for place in (end, (end[0], start[1]), (start[0], end[1])):
            if self._is_free(place) and self._is_clear(start, place):
                return place
        return start

    def way(self, start: Place, ends: list) -> list | None:
        """Corners from a free place to the nearest of several: over the grid's cells, then pulled tight."""
        ends_key = tuple(ends)
        if ends_key not in self._trees:
            self._trees[ends_key] = self._tree(ends)
        following, end_of = self._trees[ends_key]
        cell = self._cell(start)
        if cell is None or cell not in following:
            return None
        points = [start]
        while True:
            points.append(tuple(self._centers[cell].tolist()))
            if following[cell] == cell:
                break
            cell = following[cell]
        points.append(end_of[cell])
        return self._pulled(points)

    def _cell(self, place: Place) -> tuple | None:
        away = np.where(self._free, np.linalg.norm(self._centers - place, axis=-1), np.inf)
        for index in np.argsort(away, axis=None)[:12].tolist():
            cell = divmod(index, self._free.shape[1])
            if np.isfinite(away[cell]) and self._is_clear(place, tuple(self._centers[cell].tolist())):
                return cell
        return None

    def _tree(self, ends: list) -> tuple:
        queue, best, following, end_of = [], {}, {}, {}
        for end in ends:
            cell = self._cell(end)
            if cell is None:
                continue
            away = math.dist(self._centers[cell], end)
            if away < best.get(cell, math.inf):
                best[cell], following[cell], end_of[cell] = away, cell, end
                heapq.heappush(queue, (away, cell))
        rows, columns = self._free.shape
        free = self._free.tolist()
        while queue:
            length, (row, column) = heapq.heappop(queue)
            if length > best[(row, column)]:
                continue
            for dr, dc in ((0, 1), (1, 0), (0, -1), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1)):
                r, c = row + dr, column + dc
                if not (0 <= r < rows and 0 <= c < columns and free[r][c] and free[r][column] and free[row][c]):
                    continue
                further = length + _CELL * math.hypot(dr, dc)
                if further < best.get((r, c), math.inf) - 1e-12:
                    best[(r, c)], following[(r, c)] = further, (row, column)
                    heapq.heappush(queue, (further, (r, c)))
        return following, end_of

    def _pulled(self, points: list) -> list:
        way, index = [points[0]], 0
        while index < len(points) - 1:
            ahead = len(points) - 1
            while ahead > index + 1 and not self._is_clear(points[index], points[ahead]):
                ahead -= 1
            way.append(points[ahead])
            index = ahead
        return way
