"""Stands in for magnum's Python bindings in tests: the few types that the worker hands to habitat-sim."""

from __future__ import annotations

import math


class Rad(float):
    """An angle."""


class Vector3:
    """Three numbers."""

    __slots__ = ("x", "y", "z")

    def __init__(self, x: float, y: float, z: float) -> None:
        for value in (x, y, z):
            if not isinstance(value, (float, int)):
                raise TypeError(f"Vector3 takes floats, not {type(value).__name__}")
        self.x, self.y, self.z = float(x), float(y), float(z)

    def __getitem__(self, index: int) -> float:
        return (self.x, self.y, self.z)[index]


class Quaternion:
    """A turn: scalar and vector."""

    __slots__ = ("scalar", "vector")

    def __init__(self, vector: tuple[float, float, float], scalar: float) -> None:
        self.vector, self.scalar = vector, scalar

    @staticmethod
    def rotation(angle: Rad, normalized_axis: Vector3) -> Quaternion:
        """A turn about an axis, counterclockwise as seen from its tip."""
        if not isinstance(angle, Rad) or not isinstance(normalized_axis, Vector3):
            raise TypeError("rotation(): incompatible function arguments")
        share = math.sin(angle / 2)
        axis = normalized_axis
        return Quaternion((axis.x * share, axis.y * share, axis.z * share), math.cos(angle / 2))

    def __mul__(self, other: Quaternion) -> Quaternion:
        (ax, ay, az), aw = self.vector, self.scalar
        (bx, by, bz), bw = other.vector, other.scalar
        vector = (
            aw * bx + bw * ax + ay * bz - az * by,
            aw * by + bw * ay + az * bx - ax * bz,
            aw * bz + bw * az + ax * by - ay * bx,
        )
        return Quaternion(vector, aw * bw - ax * bx - ay * by - az * bz)

    def to_rows(self) -> list[list[float]]:
        """The rotation matrix (magnum: ``to_matrix``, by columns)."""
        (x, y, z), w = self.vector, self.scalar
        return [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]


class Range3D:
    """A box."""

    __slots__ = ("max", "min")

    def __init__(self, min: Vector3, max: Vector3) -> None:
        self.min, self.max = min, max


class Matrix4:
    """A turn and a move."""

    __slots__ = ("_place", "_rows")

    def __init__(self, rows: list[list[float]], place: tuple[float, float, float]) -> None:
        self._rows, self._place = rows, place

    def transform_point(self, vector: Vector3) -> Vector3:
        """A place in the frame, told from outside."""
        if not isinstance(vector, Vector3):
            raise TypeError("transform_point takes a Vector3")
        moved = (sum(row[axis] * vector[axis] for axis in range(3)) for row in self._rows)
        return Vector3(*(value + self._place[axis] for axis, value in enumerate(moved)))
