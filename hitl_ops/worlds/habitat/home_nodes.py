"""A home as a tree of named nodes: the same solids the renderer draws, under the names the world knows them by.

Names: ``floor_<room>`` and ``ceiling_<room>``; ``walls`` with every wall, skirting, lintel and sill; doors and
furniture by their own; what moves of a piece of furniture ``<furniture>/door_<n>``, what shines of it
``<furniture>/lamp_<n>``.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence

from hitl_ops.worlds.habitat.glb import Node, Solid
from hitl_ops.worlds.habitat.home_manifest import Box
from hitl_ops.worlds.household.renderer.agent_body import body
from hitl_ops.worlds.household.renderer.structure import ShellPiece, shell
from hitl_ops.worlds.household.scene_description import Door, Furniture, ObjectShape, Part, SceneDescription, Vec3

WALLS = "walls"
_TOUCHING = 1e-3


def room_nodes(description: SceneDescription) -> list[Node]:
    """Floors and ceilings, one of each for every room, then all walls."""
    pieces = list(shell(description))
    nodes = []
    for kind in ("floor", "ceiling"):
        slabs = [piece for piece in pieces if piece.kind == kind]
        for room, piece in zip(description.rooms, slabs, strict=True):
            slab = Solid("box", (0.0, 0.0, 0.0), piece.size, piece.color)
            nodes.append(Node(f"{kind}_{room.name}", piece.center, piece.yaw, (slab,)))
    numbers: Counter[str] = Counter()
    walls = []
    for piece in pieces:
        if piece.kind in ("wall", "skirting", "lintel", "sill"):
            numbers[piece.kind] += 1
            name = f"{piece.kind}_{numbers[piece.kind]}"
            walls.append(Solid("box", piece.center, piece.size, piece.color, piece.yaw, name))
    return [*nodes, Node(WALLS, solids=tuple(walls))]


def door_nodes(description: SceneDescription) -> list[Node]:
    """The leaves, each standing closed in its doorway; its frame is on the floor in the middle, x along the wall."""
    leaves: dict[str, list[ShellPiece]] = {}
    for piece in shell(description):
        if piece.door:
            leaves.setdefault(piece.door, []).append(piece)
    return [_leaf(door, leaves[door.name]) for door in description.doors]


def _leaf(door: Door, pieces: list[ShellPiece]) -> Node:
    middle = ((door.start[0] + door.end[0]) / 2, 0.0, (door.start[1] + door.end[1]) / 2)
    yaw = pieces[0].yaw
    cosine, sine = math.cos(yaw), math.sin(yaw)
    solids = []
    for piece in pieces:
        x, y, z = (piece.center[axis] - middle[axis] for axis in range(3))
        center = (cosine * x - sine * z, y, sine * x + cosine * z)
        solids.append(Solid("box", center, piece.size, piece.color, piece.yaw - yaw))
    return Node(door.name, middle, yaw, tuple(solids))


def furniture_node(piece: Furniture, moving: bool = True) -> Node:
    """A piece of furniture; ``moving`` False leaves out what moves."""
    children = [*moving_nodes(piece.name, piece.parts)] if moving else []
    return _of_parts(piece.name, piece.parts, piece.position, piece.yaw, children)


def moving_nodes(owner: str, parts: Sequence[Part]) -> list[Node]:
    """What moves of a thing, in the thing's frame: parts that touch each other (a panel and its handle) move as one."""
    groups: list[list[Part]] = []
    for part in parts:
        if part.role == "door":
            near = [group for group in groups if any(_touch(part, other) for other in group)]
            groups = [group for group in groups if group not in near]
            groups.append([*(other for group in near for other in group), part])
    return [Node(f"{owner}/door_{n}", solids=tuple(map(_solid, group))) for n, group in enumerate(groups, 1)]


def object_node(shape: ObjectShape) -> Node:
    """An object of a kind, standing on the origin."""
    return _of_parts(shape.kind, shape.parts, (0.0, 0.0, 0.0), 0.0, moving_nodes(shape.kind, shape.parts))


def agent_node(number: int) -> Node:
    """An agent with empty hands, looking along +x."""
    parts = tuple(part for part, when in body(number) if when != "holding")
    return Node(f"agent_{number}", solids=tuple(map(_solid, parts)))


def _of_parts(name: str, parts: Sequence[Part], position: Vec3, yaw: float, children: Sequence[Node]) -> Node:
    bodies = tuple(_solid(part) for part in parts if part.role == "body")
    lamps = [part for part in parts if part.role == "lamp"]
    lit = [Node(f"{name}/lamp_{n}", solids=(_solid(part),)) for n, part in enumerate(lamps, 1)]
    return Node(name, position, yaw, bodies, (*children, *lit))


def _solid(part: Part) -> Solid:
    return Solid(part.shape, part.center, _round_size(part), part.color)


def node_box(node: Node) -> Box:
    """How far a node reaches in its own frame, as long as nothing in it is turned."""
    corners = []
    for solid in _all_solids(node):
        half = [length / 2 for length in solid.size]
        corners += [[solid.center[axis] + side * half[axis] for axis in range(3)] for side in (-1, 1)]
    columns = list(zip(*corners, strict=True))
    x, y, z = ((round(min(column), 6), round(max(column), 6)) for column in columns)
    return Box(low=(x[0], y[0], z[0]), high=(x[1], y[1], z[1]))


def _all_solids(node: Node) -> Iterator[Solid]:
    yield from node.solids
    for child in node.children:
        yield from _all_solids(child)


def _round_size(part: Part) -> Vec3:
    """A part's full extent as it is drawn: what is round has its first size as its diameter."""
    width, height, depth = part.size
    if part.shape == "cylinder":
        return (width, height, width)
    return (width, width, width) if part.shape == "sphere" else (width, height, depth)


def _touch(one: Part, other: Part) -> bool:
    sizes = _round_size(one), _round_size(other)
    return all(
        abs(one.center[axis] - other.center[axis]) <= (sizes[0][axis] + sizes[1][axis]) / 2 + _TOUCHING
        for axis in range(3)
    )
