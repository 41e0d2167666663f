"""habitat_sim.geo: rays (GeoBindings.cpp)."""

from __future__ import annotations

from magnum import Vector3


class Ray:
    """Where from, and where to."""

    __slots__ = ("direction", "origin")

    def __init__(self, origin: Vector3, direction: Vector3) -> None:
        if not isinstance(origin, Vector3) or not isinstance(direction, Vector3):
            raise TypeError("Ray(): incompatible constructor arguments")
        self.origin, self.direction = origin, direction
