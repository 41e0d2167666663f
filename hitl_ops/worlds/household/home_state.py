"""Everything that is so in one running episode: the facts, who knows what, and where things may be put.

The skills change it through the few methods here, so that contents, beliefs and sight stay in step.
"""

from __future__ import annotations

import math

from hitl_ops.contracts.episode import Episode
from hitl_ops.contracts.errors import UserError
from hitl_ops.worlds.household.catalog import OBJECTS, kind_of
from hitl_ops.worlds.household.facts import AgentFacts, Facts, ObjectFacts, Relation, Vec3
from hitl_ops.worlds.household.knowledge import Belief, Knowledge
from hitl_ops.worlds.household.layout import REACH, footprint
from hitl_ops.worlds.household.scene import Scene
from hitl_ops.worlds.household.scene_description import Furniture

HAND_HEIGHT = 1.0


class HomeState:
    """Facts, contents of places and both agents' knowledge, kept consistent."""

    def __init__(self, episode: Episode, scene: Scene) -> None:
        self.scene = scene
        self.description = scene.description
        self.furniture = {piece.name: piece for piece in self.description.furniture}
        self.rooms = {room.name: room for room in self.description.rooms}
        self.anchor_bit = {name: 1 << index for index, name in enumerate(scene.anchors)}
        self._anchors = scene.anchors
        self.facts = self._starting_facts(episode)
        self.contents: dict[str, list[str]] = {name: [] for name in self._anchors}
        self._taken: dict[tuple[str, str], set[int]] = {}
        for name, thing in self.facts.objects.items():
            self.contents[thing.parent].append(name)
            self._taken.setdefault((thing.parent, thing.relation), set()).add(thing.slot)
        self.doors_mask = sum(
            1 << index for index, door in enumerate(self.description.doors) if self.facts.doors_open[door.name]
        )
        self.knowledge = tuple(Knowledge() for _ in self.facts.agents)
        # A set bit: the place has changed (or was never seen) since this agent last looked at it.
        everything = (1 << len(self._anchors)) - 1
        self._unchecked = [everything for _ in self.facts.agents]
        self.changed = True
        self.revision = 0
        """Rises with every change to objects and furniture, so that whoever shows them need not compare."""

    def _starting_facts(self, episode: Episode) -> Facts:
        objects: dict[str, ObjectFacts] = {}
        for handle, place in episode.name_to_receptacle.items():
            kind = kind_of(handle)
            if kind not in OBJECTS:
                raise UserError(
                    f"episode '{episode.episode_id}': object asset '{handle}' is missing",
                    "its kind is not in the catalogue",
                )
            try:
                parent, relation, slot_text = place.split("|")
                slot = int(slot_text)
                position = self.scene.slots(parent, relation)[slot]
            except (ValueError, KeyError, IndexError):
                raise UserError(
                    f"episode '{episode.episode_id}': '{place}', the place of '{handle}', is not in its scene",
                    "the episode file and this version's homes do not belong together; generate the episodes again",
                ) from None
            states = OBJECTS[kind].start_states()
            for state, values in episode.object_states.items():
                if handle in values:
                    states[state] = bool(values[handle])
            # Files of ours name only the relations the type lists: on, within, floor.
            objects[handle] = ObjectFacts(kind, relation, parent, slot, position, states)  # type: ignore[arg-type]
        spawns = episode.info.get("flywheel", {}).get("spawns")
        if spawns is None:
            places = [(*self.description.spawns[i % len(self.description.spawns)], 0.0) for i in range(2)]
        else:
            places = [(float(x), float(z), float(yaw)) for x, z, yaw in spawns]
        return Facts(
            agents=[AgentFacts(x, z, yaw) for x, z, yaw in places],
            objects=objects,
            furniture_rooms={piece.name: piece.room for piece in self.description.furniture},
            furniture_open={piece.name: False for piece in self.description.furniture if piece.articulated},
            furniture_states={
                piece.name: {"is_powered_on": False} for piece in self.description.furniture if piece.powerable
            },
            doors_open={door.name: door.open_at_start for door in self.description.doors},
            furniture_boxes={piece.name: _box_around(piece) for piece in self.description.furniture},
            rooms=tuple(self.rooms),
        )

    # --- geometry -----------------------------------------------------------------------------------------

    def position_of(self, name: str) -> Vec3:
        """Where an object or a piece of furniture is (its surface's middle); a held object is at the hand."""
        thing = self.facts.objects.get(name)
        if thing is None:
            piece = self.furniture[name]
            return (piece.position[0], piece.size[1], piece.position[2])
        if thing.relation == "held":
            agent = self.facts.agents[int(thing.parent.removeprefix("agent_"))]
            return (agent.x, HAND_HEIGHT, agent.z)
        return thing.position

    def distance(self, agent: int, name: str) -> float:
        """Metres on the floor between an agent and the nearest point of an object or a piece of furniture."""
        body = self.facts.agents[agent]
        if name in self.furniture:
            (x0, _, z0), (x1, _, z1) = self.facts.furniture_boxes[name]
            return math.hypot(max(x0 - body.x, body.x - x1, 0.0), max(z0 - body.z, body.z - z1, 0.0))
        x, _, z = self.position_of(name)
        return math.hypot(body.x - x, body.z - z)

    def within_reach(self, agent: int, name: str) -> bool:
        """Whether an agent stands close enough with nothing but air between."""
        if self.distance(agent, name) > REACH:
            return False
        body = self.facts.agents[agent]
        x, _, z = self.position_of(name)
        return self.scene.line_of_sight((body.x, body.z), (x, z), self.doors_mask)

    def near_faucet(self, x: float, z: float) -> bool:
        """Whether water is within reach of a place."""
        return any(
            piece.has_faucet and math.hypot(x - piece.position[0], z - piece.position[2]) <= REACH
            for piece in self.description.furniture
        )

    # --- change -------------------------------------------------------------------------------------------

    def free_slots(self, parent: str, relation: str) -> list[int]:
        """Indices of the places not taken."""
        taken = self._taken.get((parent, relation), set())
        return [index for index in range(len(self.scene.slots(parent, relation))) if index not in taken]

    def take(self, agent: int, name: str) -> None:
        """Move an object into an agent's hand."""
        thing = self.facts.objects[name]
        self.contents[thing.parent].remove(name)
        self._taken[(thing.parent, thing.relation)].discard(thing.slot)
        self._mark(thing.parent)
        thing.relation, thing.parent, thing.slot = "held", f"agent_{agent}", -1
        self.facts.agents[agent].held = name
        self._tell(name)

    def put(self, agent: int, name: str, relation: Relation, parent: str, slot: int) -> None:
        """Move an object out of an agent's hand to a place."""
        thing = self.facts.objects[name]
        thing.relation, thing.parent, thing.slot = relation, parent, slot
        thing.position = self.scene.slots(parent, relation)[slot]
        self._taken.setdefault((parent, relation), set()).add(slot)
        self.contents[parent].append(name)
        self.facts.agents[agent].held = None
        self._mark(parent)
        self._tell(name)

    def set_state(self, name: str, state: str, value: bool) -> None:
        """Set a state of an object or a piece of furniture."""
        thing = self.facts.objects.get(name)
        if thing is None:
            self.facts.furniture_states[name][state] = value
            self.changed = True
            self.revision += 1
            return
        thing.states[state] = value
        if thing.relation != "held":
            self._mark(thing.parent)
        self._tell(name)

    def set_open(self, name: str, is_open: bool) -> None:
        """Open or close a piece of furniture."""
        self.facts.furniture_open[name] = is_open
        self._mark(name)
        self.changed = True
        self.revision += 1

    def _mark(self, parent: str) -> None:
        bit = self.anchor_bit[parent]
        self._unchecked = [mask | bit for mask in self._unchecked]

    def _tell(self, name: str) -> None:
        """Both agents learn what either did: the one by doing, the other by being told."""
        belief = self._belief(self.facts.objects[name])
        for knowledge in self.knowledge:
            knowledge.learn(name, belief, is_news=False)
        self.changed = True
        self.revision += 1

    # --- sight --------------------------------------------------------------------------------------------

    def enter(self, agent: int, x: float, z: float) -> None:
        """An agent stands at a place: doors there open, and it sees what is in sight."""
        doors = self.scene.doors_at(x, z) & ~self.doors_mask
        if doors:
            self.doors_mask |= doors
            for index, door in enumerate(self.description.doors):
                if doors >> index & 1:
                    self.facts.doors_open[door.name] = True
        self.look(agent, x, z)

    def look(self, agent: int, x: float, z: float) -> None:
        """Take in every place in sight that may have changed."""
        pending = self.scene.seen_from(x, z, self.doors_mask) & self._unchecked[agent]
        if not pending:
            return
        self._unchecked[agent] &= ~pending
        while pending:
            bit = pending & -pending
            pending ^= bit
            self._check(agent, self._anchors[bit.bit_length() - 1])

    def _check(self, agent: int, parent: str) -> None:
        knowledge = self.knowledge[agent]
        concealed = parent in self.facts.furniture_open and not self.facts.furniture_open[parent]
        there = set()
        for name in self.contents[parent]:
            thing = self.facts.objects[name]
            if thing.relation == "within" and concealed:
                continue
            there.add(name)
            knowledge.learn(name, self._belief(thing), is_news=True)
        gone = [
            name
            for name, belief in knowledge.objects.items()
            if belief.parent == parent and name not in there and not (belief.relation == "within" and concealed)
        ]
        for name in gone:
            knowledge.forget(name)

    @staticmethod
    def _belief(thing: ObjectFacts) -> Belief:
        return Belief(thing.relation, thing.parent, tuple(sorted(thing.states.items())))


def _box_around(piece: Furniture) -> tuple[Vec3, Vec3]:
    x0, z0, x1, z1 = footprint(piece.position, piece.size, piece.yaw)
    return (x0, 0.0, z0), (x1, piece.size[1], z1)
