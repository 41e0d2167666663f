"""Rooms and tasks of generated ALFWorld games: what stands where, what is to be done, and one way to do it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from hitl_ops.contracts.text_game import FAMILIES
from hitl_ops.worlds.alfworld import package

LAMP = "DeskLamp"
_LAMP_STANDS_ON = ("Desk", "SideTable", "Dresser", "CoffeeTable")
_TREATED_AT = {
    "pick_clean_then_place_in_recep": ("clean", "Cleanable", "SinkBasin"),
    "pick_heat_then_place_in_recep": ("heat", "Heatable", "Microwave"),
    "pick_cool_then_place_in_recep": ("cool", "Coolable", "Fridge"),
}


@dataclass(frozen=True, slots=True)
class _RoomKind:
    """How rooms of a kind are furnished: receptacles with their least and greatest number, and what lies about."""

    receptacles: Mapping[str, tuple[int, int]]
    things: tuple[str, ...]


_KITCHEN = _RoomKind(
    receptacles={
        "Cabinet": (3, 7),
        "CoffeeMachine": (1, 1),
        "CounterTop": (1, 3),
        "DiningTable": (0, 1),
        "Drawer": (2, 5),
        "Fridge": (1, 1),
        "GarbageCan": (1, 1),
        "Microwave": (1, 1),
        "Shelf": (0, 2),
        "SideTable": (0, 1),
        "SinkBasin": (1, 1),
        "StoveBurner": (2, 4),
        "Toaster": (1, 1),
    },
    things=(
        *("Apple", "Bowl", "Bread", "ButterKnife", "Cup", "DishSponge", "Egg", "Fork", "Kettle", "Knife", "Ladle"),
        *("Lettuce", "Mug", "Pan", "PepperShaker", "Plate", "Pot", "Potato", "SaltShaker", "SoapBottle", "Spatula"),
        *("Spoon", "Tomato", "Vase", "WineBottle"),
    ),
)
_BATHROOM = _RoomKind(
    receptacles={
        "BathtubBasin": (0, 1),
        "Cabinet": (2, 4),
        "Cart": (0, 1),
        "CounterTop": (1, 1),
        "Drawer": (0, 3),
        "GarbageCan": (1, 1),
        "HandTowelHolder": (1, 2),
        "Shelf": (0, 2),
        "SideTable": (0, 1),
        "SinkBasin": (1, 2),
        "Toilet": (1, 1),
        "ToiletPaperHanger": (1, 1),
        "TowelHolder": (1, 1),
    },
    things=(
        *("Candle", "Cloth", "DishSponge", "HandTowel", "PaperTowel", "Plunger", "SoapBar", "SoapBottle"),
        *("SprayBottle", "TissueBox", "ToiletPaper", "Towel"),
    ),
)
_LIVING_ROOM = _RoomKind(
    receptacles={
        "ArmChair": (1, 2),
        "Cabinet": (0, 3),
        "CoffeeTable": (1, 1),
        "Desk": (0, 1),
        "DiningTable": (0, 1),
        "Drawer": (0, 4),
        "Dresser": (0, 1),
        "GarbageCan": (1, 1),
        "Ottoman": (0, 1),
        "Safe": (0, 1),
        "Shelf": (0, 4),
        "SideTable": (1, 2),
        "Sofa": (1, 1),
        "TVStand": (0, 1),
    },
    things=(
        *("Book", "Box", "CellPhone", "CreditCard", "KeyChain", "Laptop", "Newspaper", "Pillow", "RemoteControl"),
        *("Statue", "TissueBox", "Vase", "Watch", "WateringCan"),
    ),
)
_BEDROOM = _RoomKind(
    receptacles={
        "ArmChair": (0, 1),
        "Bed": (1, 1),
        "Cabinet": (0, 2),
        "Desk": (1, 1),
        "Drawer": (2, 6),
        "Dresser": (0, 1),
        "GarbageCan": (1, 1),
        "LaundryHamper": (0, 1),
        "Safe": (0, 1),
        "Shelf": (1, 4),
        "SideTable": (1, 2),
    },
    things=(
        *("AlarmClock", "BaseballBat", "BasketBall", "Book", "Bowl", "CD", "CellPhone", "Cloth", "CreditCard"),
        *("KeyChain", "Laptop", "Mug", "Pen", "Pencil", "Pillow", "RemoteControl", "Statue", "TennisRacket"),
        *("TissueBox", "Watch"),
    ),
)
# Where ALFRED asks for a family (alfworld.gen.constants.GOALS_VALID).
_ROOMS: Mapping[str, tuple[_RoomKind, ...]] = {
    "pick_and_place_simple": (_KITCHEN, _BATHROOM, _LIVING_ROOM, _BEDROOM),
    "look_at_obj_in_light": (_LIVING_ROOM, _BEDROOM),
    "pick_clean_then_place_in_recep": (_KITCHEN, _BATHROOM),
    "pick_heat_then_place_in_recep": (_KITCHEN,),
    "pick_cool_then_place_in_recep": (_KITCHEN,),
    "pick_two_obj_and_place": (_KITCHEN, _BATHROOM, _LIVING_ROOM, _BEDROOM),
}


@dataclass(frozen=True, slots=True)
class Receptacle:
    """A piece of furniture: its id in the problem, its kind, and the place that one stands at to reach it."""

    id: str
    kind: str
    location: str


@dataclass(frozen=True, slots=True)
class Thing:
    """Something that lies about: its id in the problem, its kind, and the receptacle it is in or on."""

    id: str
    kind: str
    receptacle: Receptacle


@dataclass(frozen=True, slots=True)
class RoomTask:
    """A furnished room with something to do in it.

    Attributes:
        family: one of ``FAMILIES``.
        receptacles: the furniture.
        things: what lies about, the lamp included.
        target: the kind of thing that the task is about.
        parent: the kind of receptacle that it is to be put in or on; empty where there is none.
        toggle: the kind of lamp to be used; empty where there is none.
        start: the place where the agent begins; no receptacle is there.
        wanted: the things that ``steps`` move.
    """

    family: str
    receptacles: tuple[Receptacle, ...]
    things: tuple[Thing, ...]
    target: str
    parent: str
    toggle: str
    start: str
    wanted: tuple[Thing, ...] = field(default=())

    def steps(self) -> Iterator[tuple[str, str, str]]:
        """One way to do it: (verb, thing or receptacle, second noun or empty), nouns as ids.

        Verbs are ``go``, ``open``, ``take``, ``move``, ``clean``, ``heat``, ``cool`` and ``use``.
        """
        at, opened = "", set[str]()
        openable = package.openable_receptacles()

        def reach(place: Receptacle, inside: bool) -> Iterator[tuple[str, str, str]]:
            nonlocal at
            if at != place.id:
                at = place.id
                yield "go", place.id, ""
            if inside and place.kind in openable and place.id not in opened:
                opened.add(place.id)
                yield "open", place.id, ""

        for thing in self.wanted:
            yield from reach(thing.receptacle, inside=True)
            yield "take", thing.id, thing.receptacle.id
            if self.family in _TREATED_AT:
                verb, _, kind = _TREATED_AT[self.family]
                place = self._first(kind)
                yield from reach(place, inside=False)
                yield verb, thing.id, place.id
            if self.toggle:
                lamp = next(one for one in self.things if one.kind == self.toggle)
                yield from reach(lamp.receptacle, inside=False)
                yield "use", lamp.id, ""
            else:
                place = self._first(self.parent)
                yield from reach(place, inside=True)
                yield "move", thing.id, place.id

    def _first(self, kind: str) -> Receptacle:
        return next(place for place in self.receptacles if place.kind == kind)


def draw_room_task(family: str, rng: random.Random) -> RoomTask:
    """Draw a room of a kind that suits the family, and a task that can be done in it.

    The task is never done at the beginning: nothing of the target's kind is in or on a receptacle of the parent's.
    """
    assert family in FAMILIES
    contents = package.contents_table()
    while True:
        kind = rng.choice(_ROOMS[family])
        places = _Places(rng)
        receptacles = _furnish(kind, rng, places)
        choices = list(_choices(family, kind, receptacles, contents))
        if not choices:  # no desk lamp's place here, or nothing that fits: another room
            continue
        target, parent = rng.choice(choices)
        copies = 2 if family == "pick_two_obj_and_place" else 1
        sources = [one for one in receptacles if one.kind != parent and target in contents.get(one.kind, frozenset())]
        wanted = [places.thing(target, rng.choice(sources)) for _ in range(copies)]
        others = _scatter(kind, target, receptacles, contents, rng, places)
        if family == "look_at_obj_in_light":
            stands = [one for one in receptacles if one.kind in _LAMP_STANDS_ON]
            others.append(places.thing(LAMP, rng.choice(stands)))
        return RoomTask(
            family=family,
            receptacles=tuple(receptacles),
            things=(*wanted, *others),
            target=target,
            parent=parent if family != "look_at_obj_in_light" else "",
            toggle=LAMP if family == "look_at_obj_in_light" else "",
            start=places.location(),
            wanted=tuple(wanted),
        )


class _Places:
    """Coordinates and the ids made of them, none twice, in the form AI2-THOR gives ids."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._taken: set[tuple[str, ...]] = set()

    def location(self) -> str:
        """Where one stands: quarter metres, a heading in quarter turns, a tilt of the head in degrees."""
        x, z = self._fresh("loc", lambda: (str(self._rng.randint(-16, 16)), str(self._rng.randint(-16, 16))))
        return pddl_name(f"loc|{x}|{z}|{self._rng.randrange(4)}|{self._rng.choice((0, 30, 45, 60))}")

    def receptacle(self, kind: str) -> Receptacle:
        whole = {"SinkBasin": "Sink", "BathtubBasin": "Bathtub"}.get(kind, kind)
        name = f"{whole}|{self._point()}" + (f"|{kind}" if whole != kind else "")
        return Receptacle(pddl_name(name), kind, self.location())

    def thing(self, kind: str, receptacle: Receptacle) -> Thing:
        return Thing(pddl_name(f"{kind}|{self._point()}"), kind, receptacle)

    def _point(self) -> str:
        return "|".join(self._fresh("point", lambda: tuple(f"{self._rng.uniform(-4, 4):+06.2f}" for _ in range(3))))

    def _fresh(self, space: str, draw: Callable[[], tuple[str, ...]]) -> tuple[str, ...]:
        while True:
            drawn = draw()
            if (space, *drawn) not in self._taken:
                self._taken.add((space, *drawn))
                return drawn


def pddl_name(thor_id: str) -> str:
    """An AI2-THOR id as PDDL takes it; ALFWorld's demangler reads it back."""
    for mark, word in (("|", "_bar_"), ("+", "_plus_"), ("-", "_minus_"), (".", "_dot_")):
        thor_id = thor_id.replace(mark, word)
    return thor_id


def _furnish(kind: _RoomKind, rng: random.Random, places: _Places) -> list[Receptacle]:
    return [
        places.receptacle(receptacle)
        for receptacle, (least, most) in kind.receptacles.items()
        for _ in range(rng.randint(least, most))
    ]


def _choices(
    family: str, kind: _RoomKind, receptacles: Sequence[Receptacle], contents: Mapping[str, frozenset[str]]
) -> Iterator[tuple[str, str]]:
    """Kinds of (thing, receptacle to put it in or on) that make a task; the receptacle is empty under a lamp."""
    there = sorted({one.kind for one in receptacles})
    if family == "look_at_obj_in_light":
        if any(place in _LAMP_STANDS_ON for place in there):
            yield from ((thing, "") for thing in kind.things if any(thing in contents.get(p, ()) for p in there))
        return
    affordance, treated_at = _TREATED_AT[family][1:] if family in _TREATED_AT else ("", "")
    for thing in kind.things:
        if affordance and thing not in package.affordances()[affordance]:
            continue
        holders = [place for place in there if thing in contents.get(place, frozenset())]
        yield from ((thing, place) for place in holders if place != treated_at and len(holders) > 1)


def _scatter(
    kind: _RoomKind,
    target: str,
    receptacles: Sequence[Receptacle],
    contents: Mapping[str, frozenset[str]],
    rng: random.Random,
    places: _Places,
) -> list[Thing]:
    """What else lies about: most kinds of the room's things once or twice, none of the target's."""
    things = []
    for thing in kind.things:
        holders = [one for one in receptacles if thing in contents.get(one.kind, frozenset())]
        if thing == target or not holders:
            continue
        things += [places.thing(thing, rng.choice(holders)) for _ in range(rng.choice((0, 1, 1, 2)))]
    return things
