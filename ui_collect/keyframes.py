"""Keyframes: what a page needs to draw a play, as compact binary; increments hold only what changed.

Little endian. Every frame begins with its kind (u8: 1 full, 2 increment), the tick (u32) and the highest ``seq`` of the
person's messages applied so far (u32; 0 before the first). Sections follow until the end, each beginning with its tag:

====  =========  =====================================================================================================
tag   what       fields
====  =========  =====================================================================================================
0x01  agent      u8 index, i16 x, i16 z (mm), i16 yaw (1e-4 rad), u16 held object (0xFFFF none), u8 flags (1 walking,
                 2 busy)
0x02  object     u16 index, u8 relation (0 on, 1 within, 2 floor, 3 held), u16 parent, i16 x, y, z (mm; 0 while held),
                 u8 states (1 the object can be clean, 2 it is clean, 4 filled, 8 on)
0x03  furniture  u16 index, u8 bits (1 open, 2 on)
0x04  door       u8 index, u8 open
0x05  progress   u16 (percent complete × 10000), u8 flags (1 success, 2 over)
0x06  reach      u8 count, count × u16: what the person's agent can act on now (object index, or 0x8000 | furniture)
====  =========  =====================================================================================================

An object's parent is a furniture index, ``0x8000 | room`` for the floor of a room, or ``0xC000 | agent`` for the agent
that holds it. Indices count along the lists of :class:`FrameNames`. What a full frame does not name is closed, off, or
not known: an object comes up once the person's agent has seen it or was told of it, never before.
"""

from __future__ import annotations

import itertools
import math
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Self

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hitl_ops.rollouts.live_session import LiveSession
    from hitl_ops.worlds.household.facts import ObjectFacts
    from hitl_ops.worlds.household.world import HouseholdWorld

FULL, INCREMENT = 1, 2
AGENT, OBJECT, FURNITURE, DOOR, PROGRESS, REACHABLE = 1, 2, 3, 4, 5, 6
NOTHING_HELD = 0xFFFF
FLOOR, HELD_BY = 0x8000, 0xC000
"""Added to a parent's index: the floor of a room, the hand of an agent."""
RELATIONS = ("on", "within", "floor", "held")

_HEAD = struct.Struct("<BII")
_AGENT = struct.Struct("<BBhhhHB")
_OBJECT = struct.Struct("<BHBHhhhB")
_FURNITURE = struct.Struct("<BHB")
_DOOR = struct.Struct("<BBB")
_PROGRESS = struct.Struct("<BHB")
_RELATION = {name: number for number, name in enumerate(RELATIONS)}
_EVERY = 30
"""Ticks after which a frame is sent even if nothing has changed."""
_REACH_EVERY = 5
"""Ticks between two looks at what is within reach."""
_turns = itertools.count()
"""Deals out who looks when, so that the plays of a worker do not all look in the same tick."""


class FrameNames(NamedTuple):
    """What the indices in frames stand for."""

    objects: list[str]
    furniture: list[str]
    doors: list[str]
    rooms: list[str]

    @classmethod
    def of(cls, world: HouseholdWorld) -> Self:
        """The names of a world's things, in the order frames count them."""
        description = world.state.description
        return cls(
            list(world.state.facts.objects),
            [piece.name for piece in description.furniture],
            [door.name for door in description.doors],
            [room.name for room in description.rooms],
        )


class KeyframeEncoder:
    """Turns one play into frames for its person; remembers what that person has been sent.

    Args:
        session: the play.
        known_to: agents whose knowledge says which objects come up; the person's alone by default.
    """

    def __init__(self, session: LiveSession, known_to: Sequence[int] | None = None) -> None:
        world = session.world
        self.names = FrameNames.of(world)
        self._session = session
        self._world = world
        self._object_index = {name: index for index, name in enumerate(self.names.objects)}
        self._furniture_index = {name: index for index, name in enumerate(self.names.furniture)}
        self._parents = dict(self._furniture_index)
        self._parents |= {f"floor_{name}": FLOOR | index for index, name in enumerate(self.names.rooms)}
        self._parents |= {f"agent_{agent}": HELD_BY | agent for agent in range(len(world.state.facts.agents))}
        self._known = [self._world.state.knowledge[agent].objects for agent in known_to or (session.human,)]
        self._turn = next(_turns) % _REACH_EVERY
        self._start()

    def _start(self) -> None:
        self._agents: list[bytes] = [b""] * len(self._world.state.facts.agents)
        self._objects: dict[str, bytes] = {}
        # Closed and off is what a page starts from.
        self._furniture = [_FURNITURE.pack(FURNITURE, index, 0) for index in range(len(self.names.furniture))]
        self._doors = 0
        self._progress = b""
        self._reach = b""
        self._compared: tuple[int, int] = (-1, -1)
        self._seq = 0
        self._sent_at = 0

    def full(self) -> bytes:
        """A frame with everything, for somebody who has nothing yet."""
        self._start()
        return self._frame(FULL, self._changes(look=True))

    def increment(self) -> bytes | None:
        """A frame with what has changed since the last one; None if nothing has, but not for a whole second."""
        sections = self._changes(look=self._session.tick % _REACH_EVERY == self._turn)
        quiet = self._session.tick - self._sent_at < _EVERY
        if not sections and quiet and self._session.last_seq == self._seq:
            return None
        return self._frame(INCREMENT, sections)

    def _frame(self, kind: int, sections: list[bytes]) -> bytes:
        self._seq, self._sent_at = self._session.last_seq, self._session.tick
        return b"".join([_HEAD.pack(kind, self._sent_at, max(self._seq, 0)), *sections])

    def _changes(self, *, look: bool) -> list[bytes]:
        world = self._world
        facts = world.facts
        sections = self._moved()
        # Things change rarely; where nothing can have changed, nothing is compared.
        compared = (world.state.revision, sum(map(len, self._known)))
        if compared != self._compared:
            self._compared = compared
            for name in dict.fromkeys(itertools.chain.from_iterable(self._known)):
                packed = self._object(name, facts.objects[name])
                if self._objects.get(name) != packed:
                    self._objects[name] = packed
                    sections.append(packed)
            sections += self._changed_furniture()
        opened = world.state.doors_mask & ~self._doors
        if opened:
            self._doors |= opened
            sections += [_DOOR.pack(DOOR, i, 1) for i in range(len(self.names.doors)) if opened >> i & 1]
        share = min(10_000, math.floor(world.percent_complete * 10_000))
        progress = _PROGRESS.pack(PROGRESS, share, world.success | (world.over or self._session.over) << 1)
        if progress != self._progress:
            self._progress = progress
            sections.append(progress)
        if look:
            reach = self._reachable()
            if reach != self._reach:
                self._reach = reach
                sections.append(reach)
        return sections

    def _reachable(self) -> bytes:
        indices = [
            index if (index := self._object_index.get(name)) is not None else FLOOR | self._furniture_index[name]
            for name in self._session.reachable()
        ][:255]
        return struct.pack(f"<BB{len(indices)}H", REACHABLE, len(indices), *indices)

    def _moved(self) -> list[bytes]:
        world = self._world
        sections = []
        for index, body in enumerate(world.state.facts.agents):
            packed = _AGENT.pack(
                AGENT,
                index,
                _millimetres(body.x),
                _millimetres(body.z),
                round(math.remainder(body.yaw, math.tau) * 10_000),
                NOTHING_HELD if body.held is None else self._object_index[body.held],
                world.walking(index) | world.busy(index) << 1,
            )
            if packed != self._agents[index]:
                self._agents[index] = packed
                sections.append(packed)
        return sections

    def _object(self, name: str, thing: ObjectFacts) -> bytes:
        x, y, z = (0.0, 0.0, 0.0) if thing.relation == "held" else thing.position
        states = thing.states
        return _OBJECT.pack(
            OBJECT,
            self._object_index[name],
            _RELATION[thing.relation],
            self._parents[thing.parent],
            _millimetres(x),
            _millimetres(y),
            _millimetres(z),
            ("is_clean" in states)
            | states.get("is_clean", False) << 1
            | states.get("is_filled", False) << 2
            | states.get("is_powered_on", False) << 3,
        )

    def _changed_furniture(self) -> list[bytes]:
        facts = self._world.state.facts
        sections = []
        for index, name in enumerate(self.names.furniture):
            on = facts.furniture_states.get(name, {}).get("is_powered_on", False)
            packed = _FURNITURE.pack(FURNITURE, index, facts.furniture_open.get(name, False) | on << 1)
            if packed != self._furniture[index]:
                self._furniture[index] = packed
                sections.append(packed)
        return sections


def _millimetres(metres: float) -> int:
    return min(32_767, max(-32_768, round(metres * 1000)))


# --- reading ----------------------------------------------------------------------------------------------------


class AgentRow(NamedTuple):
    """Where an agent is: metres, radians."""

    x: float
    z: float
    yaw: float
    held: int | None
    walking: bool
    busy: bool


class ObjectRow(NamedTuple):
    """Where an object is and how; ``parent`` as in the frame."""

    relation: str
    parent: int
    position: tuple[float, float, float]
    can_be_clean: bool
    clean: bool
    filled: bool
    on: bool


class FurnitureRow(NamedTuple):
    """The state of a piece of furniture."""

    open: bool
    on: bool


@dataclass
class Picture:
    """A play as one knows it from its frames.

    Attributes:
        tick: of the last frame taken in.
        seq: highest ``seq`` applied by then.
        reach: indices as in the frame.
    """

    tick: int = 0
    seq: int = 0
    agents: dict[int, AgentRow] = field(default_factory=dict)
    objects: dict[int, ObjectRow] = field(default_factory=dict)
    furniture: dict[int, FurnitureRow] = field(default_factory=dict)
    doors: dict[int, bool] = field(default_factory=dict)
    percent_complete: float = 0.0
    success: bool = False
    over: bool = False
    reach: list[int] = field(default_factory=list)

    def take(self, frame: bytes) -> None:
        """Take in a frame; a full one replaces everything known.

        Raises:
            ValueError: it is no frame, or is cut off.
        """
        try:
            kind, tick, seq = _HEAD.unpack_from(frame)
            if kind not in (FULL, INCREMENT):
                raise ValueError(f"frames of kind {kind} are unknown")
            if kind == FULL:
                for known in (self.agents, self.objects, self.furniture, self.doors, self.reach):
                    known.clear()
                self.percent_complete, self.success, self.over = 0.0, False, False
            self.tick, self.seq = tick, seq
            at = _HEAD.size
            while at < len(frame):
                at = self._section(frame, at)
        except struct.error:
            raise ValueError("the frame is cut off") from None

    def _section(self, frame: bytes, at: int) -> int:
        match frame[at]:
            case 1:
                _, index, x, z, yaw, held, flags = _AGENT.unpack_from(frame, at)
                self.agents[index] = AgentRow(
                    x / 1000,
                    z / 1000,
                    yaw / 10_000,
                    None if held == NOTHING_HELD else held,
                    bool(flags & 1),
                    bool(flags & 2),
                )
                return at + _AGENT.size
            case 2:
                _, index, relation, parent, x, y, z, states = _OBJECT.unpack_from(frame, at)
                if relation >= len(RELATIONS):
                    raise ValueError(f"relation {relation} is unknown")
                flags = [bool(states & bit) for bit in (1, 2, 4, 8)]
                self.objects[index] = ObjectRow(RELATIONS[relation], parent, (x / 1000, y / 1000, z / 1000), *flags)
                return at + _OBJECT.size
            case 3:
                _, index, bits = _FURNITURE.unpack_from(frame, at)
                self.furniture[index] = FurnitureRow(bool(bits & 1), bool(bits & 2))
                return at + _FURNITURE.size
            case 4:
                _, index, is_open = _DOOR.unpack_from(frame, at)
                self.doors[index] = bool(is_open)
                return at + _DOOR.size
            case 5:
                _, share, flags = _PROGRESS.unpack_from(frame, at)
                self.percent_complete, self.success, self.over = share / 10_000, bool(flags & 1), bool(flags & 2)
                return at + _PROGRESS.size
            case 6:
                (count,) = struct.unpack_from("<B", frame, at + 1)
                self.reach = list(struct.unpack_from(f"<{count}H", frame, at + 2))
                return at + 2 + 2 * count
            case tag:
                raise ValueError(f"section {tag:#04x} is unknown")


def pictured(frames: Sequence[bytes]) -> Picture:
    """The play as one knows it after some frames.

    Raises:
        ValueError: one of them is no frame.
    """
    picture = Picture()
    for frame in frames:
        picture.take(frame)
    return picture
