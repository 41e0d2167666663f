"""habitat_sim.geo: rays (GeoBindings.cpp)."""

from __future__ import annotations

import numpy as np
from magnum import Matrix4, Range3D, Vector3


class Ray:
    """Where from, and where to."""

    __slots__ = ("direction", "origin")

    def __init__(self, origin: Vector3, direction: Vector3) -> None:
        if not isinstance(origin, Vector3) or not isinstance(direction, Vector3):
            raise TypeError("Ray(): incompatible constructor arguments")
        self.origin, self.direction = origin, direction


def get_transformed_bb(range: Range3D, xform: Matrix4) -> Range3D:
    """The box around a box that was moved."""
    if not isinstance(range, Range3D) or not isinstance(xform, Matrix4):
        raise TypeError("get_transformed_bb(): incompatible function arguments")
    ends = ([range.min[axis], range.max[axis]] for axis in (0, 1, 2))
    corners = np.stack(np.meshgrid(*ends), axis=-1).reshape(-1, 3) @ np.array(xform._rows).T + xform._place
    return Range3D(Vector3(*corners.min(axis=0).tolist()), Vector3(*corners.max(axis=0).tolist()))
