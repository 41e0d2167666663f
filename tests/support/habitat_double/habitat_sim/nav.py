"""habitat_sim.nav: ways over the floor (ShortestPathBindings.cpp)."""

from __future__ import annotations

import math

import numpy as np

from habitat_sim.geometry import Floor


class NavMeshSettings:
    """How the floor is rasterised."""

    __slots__ = (
        "agent_height",
        "agent_max_climb",
        "agent_max_slope",
        "agent_radius",
        "cell_height",
        "cell_size",
        "include_static_objects",
        "region_min_size",
    )

    def set_defaults(self) -> None:
        """As PathFinder.h has them."""
        self.cell_size, self.cell_height = 0.05, 0.2
        self.agent_height, self.agent_radius = 1.5, 0.1
        self.agent_max_climb, self.agent_max_slope = 0.2, 45.0
        self.region_min_size, self.include_static_objects = 20.0, False


class MultiGoalShortestPath:
    """From one place to the nearest of several."""

    __slots__ = ("geodesic_distance", "points", "requested_ends", "requested_start")

    def __init__(self) -> None:
        self.points: list = []
        self.geodesic_distance = math.inf


class PathFinder:
    """The mesh of a simulator."""

    __slots__ = ("_floor", "_random")

    def __init__(self) -> None:
        self._floor: Floor | None = None

    def _compute(self, boxes: np.ndarray, settings: NavMeshSettings) -> None:
        clearance = math.ceil(settings.agent_radius / settings.cell_size - 1e-6) * settings.cell_size
        self._floor = Floor(boxes, clearance, settings.agent_max_climb, settings.agent_height)
        self._random = np.random.default_rng(0)

    @property
    def is_loaded(self) -> bool:
        """Whether there is a mesh."""
        return self._floor is not None

    def seed(self, new_seed: int) -> None:
        """Of random places."""
        self._random = np.random.default_rng(new_seed)

    def get_random_navigable_point(self, max_tries: int = 10) -> np.ndarray:
        """Some place of the mesh."""
        assert self._floor is not None
        x, z = self._floor.any_place(self._random)
        return np.array((x, 0.0, z), dtype=np.float32)

    def get_bounds(self) -> tuple:
        """Low and high corner of the mesh."""
        assert self._floor is not None
        x0, z0, x1, z1 = self._floor.bounds
        return np.array((x0, 0.0, z0), dtype=np.float32), np.array((x1, 0.0, z1), dtype=np.float32)

    def snap_point(self, point: np.ndarray, island_index: int = -1) -> np.ndarray:
        """The nearest place of the mesh."""
        assert self._floor is not None and point.dtype == np.float32 and point.shape == (3,)
        found = self._floor.snap((float(point[0]), float(point[2])))
        return np.array((found[0], 0.0, found[1]) if found else (math.nan,) * 3, dtype=np.float32)

    def try_step(self, start: np.ndarray, end: np.ndarray) -> np.ndarray:
        """Where a step ends, sliding."""
        assert self._floor is not None and start.dtype == end.dtype == np.float32
        x, z = self._floor.step((float(start[0]), float(start[2])), (float(end[0]), float(end[2])))
        return np.array((x, start[1], z), dtype=np.float32)

    def find_path(self, path: MultiGoalShortestPath) -> bool:
        """Fill a path in."""
        assert self._floor is not None and isinstance(path, MultiGoalShortestPath)
        start = (float(path.requested_start[0]), float(path.requested_start[2]))
        ends = [(float(end[0]), float(end[2])) for end in path.requested_ends]
        way = self._floor.way(start, ends)
        if way is None:
            return False
        path.points = [np.array((x, 0.0, z), dtype=np.float32) for x, z in way]
        path.geodesic_distance = sum(math.dist(way[at], way[at + 1]) for at in range(len(way) - 1))
        return True
