"""Where nobody walks through, and where a body may stand: a home's walls and furniture as rectangles and as a grid."""

from __future__ import annotations

import math

import numpy as np

from hitl_ops.worlds.household.grid import AGENT_RADIUS, CELL, Grid
from hitl_ops.worlds.household.scene_description import Door, Furniture, Room, Vec3, Wall

Rectangle = tuple[float, float, float, float]


def floor_grid(
    rooms: list[Room] | tuple[Room, ...],
    walls: list[Wall] | tuple[Wall, ...],
    doors: list[Door] | tuple[Door, ...],
    furniture: list[Furniture] | tuple[Furniture, ...],
    margin: float = AGENT_RADIUS,
) -> Grid:
    """The cells an agent may stand on: inside a room or doorway, their middles clear of walls and furniture."""
    x0 = min(room.bounds[0] for room in rooms)
    z0 = min(room.bounds[1] for room in rooms)
    x1 = max(room.bounds[2] for room in rooms)
    z1 = max(room.bounds[3] for room in rooms)
    shape = (round((z1 - z0) / CELL), round((x1 - x0) / CELL))
    grid = Grid(x0, z0, np.ones(shape, dtype=bool))
    for rectangle in solid_rectangles(walls, furniture):
        grid.block(*rectangle, margin=margin)
    return grid


def solid_rectangles(
    walls: list[Wall] | tuple[Wall, ...], furniture: list[Furniture] | tuple[Furniture, ...]
) -> list[Rectangle]:
    """What nobody walks through: walls as thick as they are, then furniture; (x0, z0, x1, z1) each."""
    solid: list[Rectangle] = []
    for wall in walls:
        half = wall.thickness / 2
        solid.append(
            (
                min(wall.start[0], wall.end[0]) - half,
                min(wall.start[1], wall.end[1]) - half,
                max(wall.start[0], wall.end[0]) + half,
                max(wall.start[1], wall.end[1]) + half,
            )
        )
    return [*solid, *(footprint(piece.position, piece.size, piece.yaw) for piece in furniture)]


def footprint(position: Vec3, size: Vec3, yaw: float) -> Rectangle:
    """The rectangle (x0, z0, x1, z1) a piece of furniture covers; yaw is a multiple of 90 degrees."""
    turned = round(yaw / (math.pi / 2)) % 2 == 1
    half_x, half_z = (size[2] / 2, size[0] / 2) if turned else (size[0] / 2, size[2] / 2)
    return (position[0] - half_x, position[2] - half_z, position[0] + half_x, position[2] + half_z)
