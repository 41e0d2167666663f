"""The floor as a grid of square cells: which are free to stand on, and shortest ways between them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CELL = 0.2
"""Edge of a cell in metres: fine enough for a 0.9 m doorway, coarse enough to plan in a millisecond."""

AGENT_RADIUS = 0.2
"""Half the width an agent needs, metres."""


@dataclass(frozen=True)
class Grid:
    """Cells covering ``[x0, x0 + columns·CELL] × [z0, z0 + rows·CELL]``.

    Attributes:
        x0: smallest x in metres.
        z0: smallest z in metres.
        free: bool [rows, columns]; True where an agent's centre may be.
    """

    x0: float
    z0: float
    free: NDArray[np.bool_]

    @property
    def rows(self) -> int:
        """Number of cells along z."""
        return int(self.free.shape[0])

    @property
    def columns(self) -> int:
        """Number of cells along x."""
        return int(self.free.shape[1])

    def cell(self, x: float, z: float) -> int:
        """Flat index of the cell that holds (x, z), clamped to the grid."""
        column = min(max(int((x - self.x0) / CELL), 0), self.columns - 1)
        row = min(max(int((z - self.z0) / CELL), 0), self.rows - 1)
        return row * self.columns + column

    def center(self, cell: int) -> tuple[float, float]:
        """Middle of a cell, (x, z) in metres."""
        row, column = divmod(cell, self.columns)
        return (self.x0 + (column + 0.5) * CELL, self.z0 + (row + 0.5) * CELL)

    def is_free(self, x: float, z: float) -> bool:
        """Whether an agent's centre may be at (x, z); False outside the grid."""
        column = math.floor((x - self.x0) / CELL)
        row = math.floor((z - self.z0) / CELL)
        return 0 <= row < self.rows and 0 <= column < self.columns and bool(self.free[row, column])

    def block(self, x0: float, z0: float, x1: float, z1: float, margin: float = AGENT_RADIUS) -> None:
        """Mark as not free every cell whose centre lies within ``margin`` of the rectangle."""
        xs = self.x0 + (np.arange(self.columns) + 0.5) * CELL
        zs = self.z0 + (np.arange(self.rows) + 0.5) * CELL
        inside_x = (xs > x0 - margin) & (xs < x1 + margin)
        inside_z = (zs > z0 - margin) & (zs < z1 + margin)
        self.free[np.ix_(inside_z, inside_x)] = False


def regions(free: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Label 4-connected regions of free cells: int32 [rows, columns], 0 where not free."""
    from scipy import ndimage

    labels, _ = ndimage.label(free)
    return labels.astype(np.int32)


class ShortestWays:
    """Shortest ways over a grid to given goals, computed once per goal set and kept.

    Moves go to the 8 neighbours, never cutting the corner of a cell that is not free.
    """

    def __init__(self, grid: Grid) -> None:
        from scipy.sparse import csr_matrix

        self._grid = grid
        free = grid.free
        rows, columns = free.shape
        index = np.arange(rows * columns).reshape(rows, columns)
        sources: list[NDArray[np.int64]] = []
        targets: list[NDArray[np.int64]] = []
        costs: list[NDArray[np.float64]] = []
        for dz, dx in ((0, 1), (1, 0), (1, 1), (1, -1)):
            here = (slice(0, rows - dz), slice(0, columns - dx) if dx >= 0 else slice(-dx, columns))
            there = (slice(dz, rows), slice(dx, columns) if dx >= 0 else slice(0, columns + dx))
            passable = free[here] & free[there]
            if dz and dx:
                side_a = (here[0], there[1])
                side_b = (there[0], here[1])
                passable = passable & free[side_a] & free[side_b]
            sources.append(index[here][passable])
            targets.append(index[there][passable])
            costs.append(np.full(int(passable.sum()), CELL * math.hypot(dz, dx)))
        a, b, w = np.concatenate(sources), np.concatenate(targets), np.concatenate(costs)
        size = rows * columns
        self._graph = csr_matrix(
            (np.concatenate([w, w]), (np.concatenate([a, b]), np.concatenate([b, a]))), shape=(size, size)
        )
        self._next: dict[tuple[int, ...], list[int]] = {}

    def way(self, start: int, goals: tuple[int, ...]) -> list[int] | None:
        """Cells from ``start`` to the nearest of ``goals``, both included; None where there is no way."""
        steps = self._next.get(goals)
        if steps is None:
            from scipy.sparse.csgraph import dijkstra

            _, predecessors, _ = dijkstra(
                self._graph, directed=False, indices=list(goals), return_predecessors=True, min_only=True
            )
            steps = predecessors.tolist()
            for goal in goals:
                steps[goal] = goal
            self._next[goals] = steps
        cells = [start]
        here = start
        while (following := steps[here]) != here:
            if following < 0:
                return None
            cells.append(following)
            here = following
        return cells
