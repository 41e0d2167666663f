"""A home and a moment of it as one table of solids, which every backend draws from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hitl_ops.worlds.household.facts import Facts, ObjectFacts
from hitl_ops.worlds.household.renderer import appearance
from hitl_ops.worlds.household.renderer.agent_body import body, hand
from hitl_ops.worlds.household.renderer.room_sight import RoomSight
from hitl_ops.worlds.household.renderer.solids import SHAPES
from hitl_ops.worlds.household.renderer.structure import shell
from hitl_ops.worlds.household.scene_description import ObjectShape, Part, SceneDescription, Vec3

COLUMNS = 12
"""Columns of ``SceneSolids.rows``: centre x y z, cos yaw, size x y z, sin yaw, red, green, blue, glow."""

_ALWAYS = np.uint64(2**64 - 1)
_UNLIT_SHARE = 0.3  # how much a thing without a lamp part shows that it is switched on


@dataclass(slots=True)
class _Draft:
    """One solid before the table is built."""

    kind: str
    owner: str
    role: str
    shape: str
    row: tuple[float, ...]
    rooms: int
    part: Part | None = None


@dataclass(slots=True)
class _Owner:
    """A thing whose solids change: where they are in the table and what they looked like last."""

    indices: NDArray[np.intp]
    parts: list[Part]
    lamps: list[float]
    roles: list[str]
    seen: object = None


class SceneSolids:
    """The table, kept up to date with the facts at the cost of what changed.

    Attributes:
        rows: float32 [n, COLUMNS], solids of one shape after those of another in the order of ``SHAPES``.
        bounds: where each shape begins in ``rows``, one more entry than shapes.
        drawn: bool [n]; whether a solid is there now.
        radius: float32 [n]; of the ball around a solid.
        rooms: uint64 [n]; bit i: it can be seen from room i.
        ceiling: bool [n]; it hides the room from above: a ceiling or a lintel.
        body_of: int16 [n]; the agent whose body it is, -1 for none.
    """

    def __init__(self, description: SceneDescription, shapes: Mapping[str, ObjectShape]) -> None:
        self._description = description
        self._shapes = shapes
        self.sight = RoomSight(description)
        self._furniture = {piece.name: piece for piece in description.furniture}
        self._doors_at_start = {door.name: door.open_at_start for door in description.doors}
        self._fixed = self._fixed_drafts()
        self._objects: frozenset[str] | None = None
        self._agents = 0

    # --- following the facts -----------------------------------------------------------------------------------

    def follow(self, facts: Facts) -> None:
        """Bring the table up to date with the moment.

        Raises:
            KeyError: an object of a kind that has no shape.
        """
        if self._objects is None or len(facts.agents) != self._agents or facts.objects.keys() != self._objects:
            self._build(facts)
        for name, owner in self._door_owners.items():
            is_open = facts.doors_open.get(name, self._doors_at_start[name])
            if is_open is not owner.seen:
                owner.seen = is_open
                self.drawn[owner.indices] = not is_open
        for name, owner in self._furniture_owners.items():
            states = facts.furniture_states.get(name, {})
            is_open = facts.furniture_open.get(name, False)
            if owner.seen != (is_open, states):
                owner.seen = (is_open, dict(states))
                for index, role in zip(owner.indices, owner.roles, strict=True):
                    self.drawn[index] = role != "door" or not is_open
                self._paint(owner, states)
        for name, owner in self._object_owners.items():
            self._follow_object(owner, facts.objects[name], facts)
        for number, owner in enumerate(self._agent_owners):
            self._follow_agent(number, owner, facts)

    def _follow_object(self, owner: _Owner, thing: ObjectFacts, facts: Facts) -> None:
        hidden = False
        position = thing.position
        if thing.relation == "held":
            position = hand(facts.agents[int(thing.parent.removeprefix("agent_"))])
        elif thing.relation == "within":
            piece = self._furniture.get(thing.parent)
            hidden = piece is not None and piece.articulated and not facts.furniture_open.get(thing.parent, False)
        now = (position, hidden, thing.states)
        if owner.seen == now:
            return
        moved = owner.seen is None or owner.seen[0] != position  # type: ignore[index]  # it is such a triple
        owner.seen = (position, hidden, dict(thing.states))
        self.drawn[owner.indices] = not hidden
        self._paint(owner, thing.states)
        if moved:
            for index, part in zip(owner.indices, owner.parts, strict=True):
                self.rows[index, :3] = [position[i] + part.center[i] for i in range(3)]
            held = thing.relation == "held"
            self.rooms[owner.indices] = _ALWAYS if held else self.sight.rooms_at(position[0], position[2])

    def _follow_agent(self, number: int, owner: _Owner, facts: Facts) -> None:
        agent = facts.agents[number]
        now = (agent.x, agent.z, agent.yaw, agent.held is not None)
        if owner.seen == now:
            return
        owner.seen = now
        cosine, sine = math.cos(agent.yaw), math.sin(agent.yaw)
        for index, part, when in zip(owner.indices, owner.parts, owner.roles, strict=True):
            self.rows[index, :3] = _turned(part.center, (agent.x, 0.0, agent.z), cosine, sine)
            self.rows[index, 3], self.rows[index, 7] = cosine, sine
            self.drawn[index] = when == "always" or (when == "holding") == (agent.held is not None)

    def _paint(self, owner: _Owner, states: dict[str, bool]) -> None:
        for index, part, lamp in zip(owner.indices, owner.parts, owner.lamps, strict=True):
            self.rows[index, 8:12] = appearance.tinted(part.color, states, lamp)

    # --- building the table ------------------------------------------------------------------------------------

    def _fixed_drafts(self) -> list[_Draft]:
        """Everything that never moves."""
        drafts = []
        for piece in shell(self._description):
            row = (*piece.center, math.cos(piece.yaw), *piece.size, math.sin(piece.yaw), *piece.color, 0.0)
            rooms = self.sight.rooms_touching(piece.center, piece.size, piece.yaw)
            shape = "floor" if piece.kind == "floor" else "box"
            drafts.append(_Draft(piece.kind, piece.door, "", shape, row, rooms))
        for furniture in self._description.furniture:
            rooms = self.sight.room_bit(furniture.room)
            cosine, sine = math.cos(furniture.yaw), math.sin(furniture.yaw)
            for part in furniture.parts:
                placed = _row(part, furniture.position, cosine, sine)
                drafts.append(_Draft("furniture", furniture.name, part.role, part.shape, placed, rooms, part))
        return drafts

    def _build(self, facts: Facts) -> None:
        """Lay out the table anew: at the first moment, and should other objects or agents appear."""
        drafts = list(self._fixed)
        for name, thing in facts.objects.items():
            for part in self._shapes[thing.kind].parts:
                drafts.append(_Draft("object", name, part.role, part.shape, _row(part), 0, part))
        for number in range(len(facts.agents)):
            for part, when in body(number):
                drafts.append(_Draft("agent", str(number), when, part.shape, _row(part), int(_ALWAYS), part))
        drafts.sort(key=lambda draft: SHAPES.index(draft.shape))
        self.rows = np.array([draft.row for draft in drafts], dtype=np.float32).reshape(-1, COLUMNS)
        self.radius = np.linalg.norm(self.rows[:, 4:7], axis=1) / 2
        self.drawn = np.ones(len(drafts), dtype=bool)
        self.rooms = np.array([draft.rooms for draft in drafts], dtype=np.uint64)
        self.ceiling = np.array([draft.kind in ("ceiling", "lintel") for draft in drafts], dtype=bool)
        self.body_of = np.array([int(d.owner) if d.kind == "agent" else -1 for d in drafts], dtype=np.int16)
        numbers = [SHAPES.index(draft.shape) for draft in drafts]
        self.bounds = np.searchsorted(numbers, range(len(SHAPES) + 1)).tolist()
        owners = _gathered(drafts)
        self._door_owners = owners["leaf"]
        self._furniture_owners = owners["furniture"]
        self._object_owners = owners["object"]
        self._agent_owners = [owners["agent"][str(number)] for number in range(len(facts.agents))]
        self._objects = frozenset(facts.objects)
        self._agents = len(facts.agents)


def _gathered(drafts: list[_Draft]) -> dict[str, dict[str, _Owner]]:
    """Who owns which rows: kind → name → owner."""
    members: dict[str, dict[str, list[int]]] = {"leaf": {}, "furniture": {}, "object": {}, "agent": {}}
    for index, draft in enumerate(drafts):
        if draft.kind in members:
            members[draft.kind].setdefault(draft.owner, []).append(index)
    owners: dict[str, dict[str, _Owner]] = {}
    for kind, by_name in members.items():
        owners[kind] = {}
        for name, indices in by_name.items():
            roles = [drafts[i].role for i in indices]
            parts = [part for i in indices if (part := drafts[i].part) is not None]
            plain = 0.0 if "lamp" in roles else _UNLIT_SHARE
            lamps = [1.0 if role == "lamp" else plain for role in roles]
            owners[kind][name] = _Owner(np.array(indices, dtype=np.intp), parts, lamps, roles)
    return owners


def _row(part: Part, origin: Vec3 = (0.0, 0.0, 0.0), cosine: float = 1.0, sine: float = 0.0) -> tuple[float, ...]:
    """A part as a row, its owner standing at ``origin`` and turned; cylinders and spheres are round."""
    width, height, depth = part.size
    if part.shape == "cylinder":
        depth = width
    elif part.shape == "sphere":
        height = depth = width
    return (*_turned(part.center, origin, cosine, sine), cosine, width, height, depth, sine, *part.color, 0.0)


def _turned(local: Vec3, origin: Vec3, cosine: float, sine: float) -> Vec3:
    return (
        origin[0] + cosine * local[0] + sine * local[2],
        origin[1] + local[1],
        origin[2] - sine * local[0] + cosine * local[2],
    )
