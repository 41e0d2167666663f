"""What to do next: from what the page shows and asks for to one step, for the person itself or for its partner."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from hitl_ops.contracts.action import Action
from hitl_ops.worlds.household.catalog import spoken
from ui_collect.scripted_people.errands import Errand
from ui_collect.scripted_people.floor_plan import FloorPlan
from ui_collect.scripted_people.page import Sight, Thing

_REFUSED_OFTEN = 2


@dataclass(frozen=True)
class Step:
    """One thing to do.

    Attributes:
        kind: ``walk`` to ``target``, then ``act`` if there is one; ``act`` right here; ``wait`` for the partner, who
            alone can go on; ``nothing`` is left that one could do.
        target: a piece of furniture, a room or ``floor_<room>``.
        action: what to do there.
    """

    kind: Literal["walk", "act", "wait", "nothing"]
    target: str = ""
    action: Action | None = None


@dataclass
class Memory:
    """What one remembers of a play beside what the page shows.

    Attributes:
        searched: rooms and furniture looked into for things not found yet.
        refused: how often the world refused an action.
        at: where one walked last; empty after any other walk.
    """

    searched: set[str] = field(default_factory=set)
    refused: Counter[str] = field(default_factory=Counter)
    at: str = ""


class Choices:
    """Chooses steps in one play.

    Args:
        plan: the home.
        abilities: the tools the agent has.
        agent: whose steps these are.
        instruction: the task as the page says it: what it names is searched first.
        whispered: where things lie that nobody has seen, from a coach.
        in_order: each errand must be finished before the next is begun.
    """

    def __init__(
        self,
        plan: FloorPlan,
        abilities: list[str],
        agent: int,
        *,
        instruction: str = "",
        whispered: dict[str, tuple[str, str]] | None = None,
        in_order: bool = False,
    ) -> None:
        self.plan = plan
        self.memory = Memory()
        self._abilities = abilities
        self._agent = agent
        self._whispered = whispered or {}
        self._in_order = in_order
        rooms = {name: f" {spoken(room.kind)}" in instruction for name, room in plan.rooms.items()}
        self._named_rooms = [name for name, named in rooms.items() if named]
        shut = [(name, piece) for name, piece in plan.furniture.items() if piece.articulated]
        self._named_furniture = [
            name for name, piece in shut if rooms[piece.room] and f" {spoken(piece.kind)}" in instruction
        ]
        self._shut = [*self._named_furniture, *(name for name, _ in shut if name not in self._named_furniture)]

    def next_step(self, sight: Sight, errands: list[Errand], *, taken: str = "") -> Step:
        """What to do next.

        Args:
            sight: the moment.
            errands: what is still missing, in its order.
            taken: what the other one is about, as ``Tool[args]``: its thing is left to it.
        """
        waiting = False
        for errand in errands:
            step = self._errand(sight, errand, taken)
            if step is not None and step.kind != "wait":
                return step
            waiting = True
            if self._in_order:
                break
        held = sight.held.get(self._agent)
        if held is not None and not any(held in errand.subjects for errand in errands):
            return self._put_aside(sight, held) or Step("wait")
        return Step("wait" if waiting else "nothing")

    # --- errands --------------------------------------------------------------------------------------------

    def _errand(self, sight: Sight, errand: Errand, taken: str) -> Step | None:
        """A step towards one errand; None where only the other one can make it."""
        held = sight.held.get(self._agent)
        if any(tool not in self._abilities for tool in errand.tools):
            return None
        if errand.subjects[0] in self.plan.furniture:
            return self._go_and(sight, errand.subjects[0], Action(errand.tools[0], errand.subjects[:1]))
        if held in errand.subjects:
            assert held is not None
            return self._with_it(sight, errand, held)
        if held is not None:
            return self._put_aside(sight, held)
        for thing in self._candidates(sight, errand, taken):
            step = self._fetch(sight, errand, thing)
            if step is not None:
                return step
        return self._search(sight, errand)

    def _candidates(self, sight: Sight, errand: Errand, taken: str) -> Iterator[Thing]:
        """Things one has seen that the errand is still about, and nobody else is."""
        busy = set(_args_of(taken))
        for name in errand.subjects:
            thing = sight.things.get(name)
            if thing is None or thing.holder is not None or name in busy:
                continue
            if errand.moves and len(errand.subjects) > 1 and thing.place in errand.places:
                continue  # this one is where it belongs; the line is about another
            yield thing

    def _fetch(self, sight: Sight, errand: Errand, thing: Thing) -> Step | None:
        if thing.row.relation == "within" and thing.place not in sight.open_furniture:
            return self._go_and(sight, thing.place, Action("Open", (thing.place,)))
        for tool in errand.tools:
            if tool != "Fill":
                return self._go_and(sight, thing.place, Action(tool, (thing.name,)), near=thing.name)
        return self._go_and(sight, thing.place, Action("Pick", (thing.name,)), near=thing.name)

    def _with_it(self, sight: Sight, errand: Errand, held: str) -> Step | None:
        for tool in errand.tools:
            if tool == "Fill":
                faucets = [name for name, piece in self.plan.furniture.items() if piece.has_faucet]
                return self._go_and(sight, faucets[0], Action("Fill", (held,)), walk=True) if faucets else None
            return Step("act", action=Action(tool, (held,)))
        for place, beside in self._destinations(sight, errand, held):
            last = ("next_to", beside) if beside else ("None", "None")
            place_it = Action("Place", (held, "on" if place.startswith("floor_") else errand.relation, place, *last))
            if self.memory.refused[str(place_it)] >= _REFUSED_OFTEN:
                continue
            piece = self.plan.furniture.get(place)
            inside = errand.relation == "within" and piece is not None and piece.articulated
            if inside and place not in sight.open_furniture:
                return self._go_and(sight, place, Action("Open", (place,)))
            return self._go_and(sight, place, place_it)
        return None

    def _destinations(self, sight: Sight, errand: Errand, held: str) -> Iterator[tuple[str, str]]:
        """Places that serve, each with what to put it next to."""
        for other in errand.beside:
            thing = sight.things.get(other)
            if other == held or thing is None or thing.holder is not None:
                continue
            if not errand.places or thing.place in errand.places:
                yield thing.place, other
        if errand.places:
            yield from ((place, "") for place in errand.places)
        elif errand.on_floor:
            rooms = errand.rooms or list(self.plan.rooms)
            yield from ((f"floor_{room}", "") for room in rooms)
        else:
            for room in errand.rooms:
                yield from (
                    (name, "") for name, piece in self.plan.furniture.items() if piece.room == room and piece.on_slots
                )

    def _search(self, sight: Sight, errand: Errand) -> Step | None:
        """Where to look for a thing nobody has seen; None where the other one has it."""
        unseen = [name for name in errand.subjects if name not in sight.things]
        if not unseen:
            return None
        for name in unseen:
            if name in self._whispered:
                place, relation = self._whispered[name]
                if relation == "within" and place not in sight.open_furniture:
                    return self._go_and(sight, place, Action("Open", (place,)))
                if self._look_at(place):
                    return Step("walk", place)
        for places in (self._named_furniture, [*self._named_rooms, *self.plan.rooms], self._shut):
            step = self._look_into(sight, places)
            if step is not None:
                return step
        return None

    def _look_into(self, sight: Sight, places: list[str]) -> Step | None:
        """Walk into the next room, or open the next piece of furniture; None where all were looked into."""
        for place in places:
            if place in self.plan.rooms:
                if self._look_at(place):
                    return Step("walk", place)
            elif place not in sight.open_furniture:
                step = self._go_and(sight, place, Action("Open", (place,)))
                if step is not None:
                    return step
        return None

    def _look_at(self, place: str) -> bool:
        """Whether a place is still to be looked at; it counts as looked at from now on."""
        if place in self.memory.searched:
            return False
        self.memory.searched.add(place)
        return True

    def _put_aside(self, sight: Sight, held: str) -> Step | None:
        """Free the hand, close by where possible."""
        surfaces = [name for name, piece in self.plan.furniture.items() if piece.on_slots]
        for name in sorted(surfaces, key=lambda name: name not in sight.reach):
            place_it = Action("Place", (held, "on", name, "None", "None"))
            if self.memory.refused[str(place_it)] < _REFUSED_OFTEN:
                return self._go_and(sight, name, place_it)
        return None

    def _go_and(self, sight: Sight, place: str, action: Action, *, near: str = "", walk: bool = False) -> Step | None:
        """Do it from here if that will do, else after a walk; None where it was refused too often."""
        if self.memory.refused[str(action)] >= _REFUSED_OFTEN:
            return None
        there = self.memory.at == place or (not walk and ((near or place) in sight.reach))
        return Step("act", action=action) if there else Step("walk", place, action)

    # --- mistakes -------------------------------------------------------------------------------------------

    def mistake(self, sight: Sight, luck: random.Random) -> Step:
        """Something that does not serve: the wrong thing, a wrong place, a walk to nowhere, a name nobody bears."""
        held = sight.held.get(self._agent)
        options = [Step("walk", luck.choice(list(self.plan.rooms)))]
        near = sorted(name for name in sight.reach if name in sight.things)
        if held is None and near:
            options.append(Step("act", action=Action("Pick", (luck.choice(near),))))
        if held is not None:
            place = luck.choice(list(self.plan.furniture))
            options.append(Step("walk", place, Action("Place", (held, "on", place, "None", "None"))))
        openable = sorted(name for name in sight.reach if name in self.plan.furniture)
        if openable:
            name = luck.choice(openable)
            options.append(Step("act", action=Action("Close" if name in sight.open_furniture else "Open", (name,))))
        options.append(Step("act", action=Action("Pick", (f"unicorn_{luck.randint(1, 9)}",))))
        return luck.choice(options)


def _args_of(action: str) -> tuple[str, ...]:
    body = action.partition("[")[2].rstrip("]")
    return tuple(part.strip() for part in body.split(",")) if body else ()


def as_named(step: Step) -> Action | None:
    """A step as one action by name, the way a partner is told: a walk is a ``Navigate``; None where there is none."""
    if step.kind == "walk":
        target = step.target.removeprefix("floor_")
        return Action("Navigate", (target,))
    return step.action if step.kind == "act" else None
