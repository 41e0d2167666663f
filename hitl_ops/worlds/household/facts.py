"""What is true in a home right now: where everything is and in which state.

The truth, not anybody's view of it: predicates and the renderer read it, the tools change it. What an agent
knows is in ``knowledge.py``.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Literal

Vec3 = tuple[float, float, float]
Relation = Literal["on", "within", "floor", "held"]


@dataclass(slots=True)
class ObjectFacts:
    """One movable object.

    Attributes:
        kind: e.g. ``"mug"``.
        relation: how it stands to ``parent``.
        parent: a furniture name, ``"floor_<room>"`` or ``"agent_<n>"`` when held.
        slot: index among the parent's slots, -1 when held.
        position: middle of its underside, y up, metres.
        states: PARTNR's state names (``is_clean``, ``is_filled``, ``is_powered_on``) the object has.
    """

    kind: str
    relation: Relation
    parent: str
    slot: int
    position: Vec3
    states: dict[str, bool] = field(default_factory=dict)


@dataclass(slots=True)
class AgentFacts:
    """One agent: where it stands (x, z on the floor), where it faces (radians about +y) and what it holds."""

    x: float
    z: float
    yaw: float = 0.0
    held: str | None = None


@dataclass(slots=True)
class Facts:
    """The whole truth of one moment."""

    agents: list[AgentFacts]
    objects: dict[str, ObjectFacts]
    furniture_rooms: dict[str, str]
    furniture_open: dict[str, bool]
    furniture_states: dict[str, dict[str, bool]]
    doors_open: dict[str, bool]
    handles: dict[str, str] = field(default_factory=dict)
    """Handles used by an episode's propositions → our names; a name is its own handle."""
    furniture_boxes: dict[str, tuple[Vec3, Vec3]] = field(default_factory=dict)
    """Lowest and highest corner of the box around each piece of furniture; only is_next_to over furniture reads it."""
    rooms: tuple[str, ...] = ()
    """Every room of the home, so that a task may also name one without furniture."""

    def name(self, handle: str) -> str:
        """Our name for an episode's handle."""
        return self.handles.get(handle, handle)

    def room_of(self, name: str) -> str | None:
        """The room an object or a piece of furniture is in; None while the object is held."""
        if name in self.furniture_rooms:
            return self.furniture_rooms[name]
        thing = self.objects[name]
        if thing.relation == "held":
            return None
        if thing.relation == "floor":
            return thing.parent.removeprefix("floor_")
        return self.furniture_rooms[thing.parent]

    def state(self, name: str, state: str) -> bool | None:
        """The value of a state of an object or a piece of furniture; None where it has no such state."""
        if name in self.objects:
            return self.objects[name].states.get(state)
        return self.furniture_states.get(name, {}).get(state)

    def digest(self) -> str:
        """Hash of everything above, for replay checks (positions rounded to a tenth of a millimetre)."""
        body = {
            "agents": [[round(a.x, 4), round(a.z, 4), round(a.yaw, 4), a.held] for a in self.agents],
            "objects": {
                name: [o.relation, o.parent, o.slot, [round(v, 4) for v in o.position], sorted(o.states.items())]
                for name, o in sorted(self.objects.items())
            },
            "open": sorted(self.furniture_open.items()),
            "states": sorted((name, sorted(states.items())) for name, states in self.furniture_states.items()),
            "doors": sorted(self.doors_open.items()),
        }
        return hashlib.sha256(json.dumps(body, separators=(",", ":")).encode()).hexdigest()[:16]
