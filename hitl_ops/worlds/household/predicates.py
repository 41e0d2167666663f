"""PARTNR's predicates, compiled once per task into fast questions about the facts.

Names and arguments follow PARTNR (arXiv 2411.00081; upstream ``predicate_wrappers.py``). Handles in a list are
alternatives: any of them will do; ``number=n`` asks for n different ones. With ``is_same_receptacle``,
``is_same_room`` or ``is_same_b`` the n must share their counterpart. A held object is on nothing, inside
nothing, in no room and next to nothing.

``is_next_to`` follows habitat-lab's ``obj_next_to``: at most ``l2_threshold`` metres (0.5) apart on the floor plane,
and heights that differ by at most 0.1 m, so that two shelves of one bookcase are not next to each other. Facts hold
an object's position (the middle of its underside) and no size, so objects count as points; furniture counts
as the box around it.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import hypot
from typing import Any

from hitl_ops.contracts.episode import Proposition
from hitl_ops.contracts.errors import UserError
from hitl_ops.worlds.household.facts import Facts, Relation

Bindings = dict[str, tuple[str, ...]]
"""Argument name → values that satisfied it. For objects and their counterparts the tuples are aligned; for
``is_clustered`` the names are ``*args_0``, ``*args_1`` and so on."""

Counterpart = Callable[[Facts, str], str | None]
"""What a thing stands in the relation with, "" where the predicate has no counterpart, None where it does not hold."""

L2_THRESHOLD = 0.5
"""Metres on the floor plane within which two things are next to each other, unless a task says otherwise."""
VERTICAL_PADDING = 0.1
"""Metres by which the heights of two things next to each other may differ."""
_ROUNDING = 1e-9

_SAME_COUNTERPART = ("is_same_receptacle", "is_same_room", "is_same_b")
_STATES: dict[str, tuple[str, bool]] = {
    "is_clean": ("is_clean", True),
    "is_dirty": ("is_clean", False),
    "is_filled": ("is_filled", True),
    "is_empty": ("is_filled", False),
    "is_powered_on": ("is_powered_on", True),
    "is_powered_off": ("is_powered_on", False),
}
_HANDLE_ARGUMENTS: dict[str, tuple[str, ...]] = {
    "is_on_top": ("object_handles", "receptacle_handles"),
    "is_inside": ("object_handles", "receptacle_handles"),
    "is_in_room": ("object_handles", "room_ids"),
    "is_on_floor": ("object_handles",),
    "is_next_to": ("entity_handles_a", "entity_handles_b"),
    "is_clustered": ("*args",),
    **{name: ("object_handles",) for name in _STATES},
}
PREDICATES = tuple(_HANDLE_ARGUMENTS)
"""Every predicate a proposition may name."""
_KNOWN_ARGUMENTS = {"number", "l2_threshold", *_SAME_COUNTERPART}.union(*_HANDLE_ARGUMENTS.values())


@dataclass(frozen=True, slots=True)
class Predicate:
    """A proposition compiled against one home.

    Attributes:
        function_name: PARTNR's name of the predicate.
        subjects: names of the alternatives, one tuple (``is_clustered``: one tuple a group).
        counterparts: names of the alternative receptacles, rooms or entities; empty where there is none.
        numbers: how many of each tuple in ``subjects`` are needed.
        same: whether they must share one counterpart.
        holds: the bare question, for the fast path.
        bind: what satisfies it; empty while it does not hold.
    """

    function_name: str
    subjects: tuple[tuple[str, ...], ...]
    counterparts: tuple[str, ...]
    numbers: tuple[int, ...]
    same: bool
    holds: Callable[[Facts], bool]
    bind: Callable[[Facts], Bindings]

    def __call__(self, facts: Facts) -> tuple[bool, Bindings]:
        """Whether the predicate holds, and the values of its arguments that make it hold."""
        bindings = self.bind(facts)
        return bool(bindings), bindings

    @property
    def argument_names(self) -> tuple[str, ...]:
        """Names a constraint may use for its arguments, the subjects' first."""
        if self.function_name == "is_clustered":
            return tuple(f"*args_{group}" for group in range(len(self.subjects)))
        return _HANDLE_ARGUMENTS[self.function_name]


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads one proposition's arguments; every complaint names the episode and the proposition."""

    proposition: Proposition
    facts: Facts
    where: str

    def error(self, what: str, remedy: str = "correct the episode file") -> UserError:
        return UserError(f"{self.where} ({self.proposition.function_name}): {what}", remedy)

    def handles(self, argument: str, value: Any) -> tuple[str, ...]:
        """Names behind a list of handles, each once, in order."""
        if not isinstance(value, list) or not value or not all(isinstance(handle, str) for handle in value):
            raise self.error(f"'{argument}' must be a list of at least one handle")
        return tuple(dict.fromkeys(self.facts.name(handle) for handle in value))

    def required(self, argument: str) -> tuple[str, ...]:
        if argument not in self.proposition.args:
            raise self.error(f"argument '{argument}' is missing")
        return self.handles(argument, self.proposition.args[argument])

    def among(self, names: tuple[str, ...], known: set[str], kind: str) -> tuple[str, ...]:
        """``names``, if all are known.

        Raises:
            UserError: one is not; the nearest known name is proposed.
        """
        for name in names:
            if name not in known:
                near = difflib.get_close_matches(name, sorted(known), n=1)
                remedy = f"did you mean '{near[0]}'?" if near else "name one that this home has"
                raise self.error(f"{kind} '{name}' is unknown", remedy)
        return names

    def objects(self, argument: str) -> tuple[str, ...]:
        return self.among(self.required(argument), set(self.facts.objects), "object")

    def count(self, value: Any, available: int) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise self.error(f"number {value!r} is not a positive whole number")
        if value > available:
            raise self.error(f"asks for {value} of only {available} different things")
        return value

    def threshold(self) -> float:
        value = self.proposition.args.get("l2_threshold", L2_THRESHOLD)
        if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
            raise self.error(f"l2_threshold {value!r} is not a distance in metres")
        return float(value)


def compile_predicate(proposition: Proposition, facts: Facts, where: str) -> Predicate:
    """Turn a proposition into a question about the facts of one home.

    Args:
        proposition: what must come to hold.
        facts: the home it is asked of; names what exists and which states things have.
        where: how to name the proposition in an error, e.g. ``"episode 'e_7', proposition 0"``.

    Raises:
        UserError: the predicate, an argument, a handle or a state is unknown, or a number cannot be met.
    """
    reader = _Reader(proposition, facts, where)
    name = proposition.function_name
    if name not in _HANDLE_ARGUMENTS:
        near = difflib.get_close_matches(name, PREDICATES, n=1)
        raise UserError(
            f"{where}: predicate '{name}' is unknown",
            f"did you mean '{near[0]}'?" if near else f"known: {', '.join(PREDICATES)}",
        )
    for argument in proposition.args:
        if argument not in _KNOWN_ARGUMENTS:
            raise reader.error(f"argument '{argument}' is unknown")
    if name == "is_clustered":
        return _compile_clustered(reader)
    if name in _STATES:
        return _compile_state(reader)
    if name == "is_next_to":
        return _compile_next_to(reader)
    return _compile_placement(reader)


def _compile_placement(reader: _Reader) -> Predicate:
    name, facts = reader.proposition.function_name, reader.facts
    objects = reader.objects("object_handles")
    if name == "is_on_floor":
        return _of_subjects(reader, objects, (), [_lies_on_floor])
    rooms = _rooms(facts)
    if name == "is_in_room":
        room_ids = reader.among(reader.required("room_ids"), rooms, "room")
        return _of_subjects(reader, objects, room_ids, [_is_in(group) for group in _groups(reader, room_ids)])
    # The floor of a room is a receptacle of its own name wherever tools take one, so it is one here too.
    floors = {f"floor_{room}" for room in rooms}
    receptacles = reader.required("receptacle_handles")
    reader.among(receptacles, set(facts.furniture_rooms) | (floors if name == "is_on_top" else set()), "receptacle")
    relations: tuple[Relation, ...] = ("on", "floor") if name == "is_on_top" else ("within",)
    tests = [_has_parent(relations, group) for group in _groups(reader, receptacles)]
    return _of_subjects(reader, objects, receptacles, tests)


def _compile_state(reader: _Reader) -> Predicate:
    facts = reader.facts
    state, wanted = _STATES[reader.proposition.function_name]
    known = set(facts.objects) | set(facts.furniture_rooms)
    things = reader.among(reader.required("object_handles"), known, "object")
    for thing in things:
        if facts.state(thing, state) is None:
            raise reader.error(f"'{thing}' has no state '{state}'", "name a thing that affords it")

    def in_state(facts: Facts, thing: str) -> str | None:
        return "" if facts.state(thing, state) is wanted else None

    return _of_subjects(reader, things, (), [in_state])


def _compile_next_to(reader: _Reader) -> Predicate:
    first = _placeable(reader, reader.required("entity_handles_a"))
    second = _placeable(reader, reader.required("entity_handles_b"))
    tests = [_neighbour_among(group, reader.threshold()) for group in _groups(reader, second)]
    return _of_subjects(reader, first, second, tests)


def _compile_clustered(reader: _Reader) -> Predicate:
    args = reader.proposition.args
    lists = args.get("*args")
    if not isinstance(lists, list) or not lists:
        raise reader.error("'*args' must be a list of lists of handles")
    groups = tuple(_placeable(reader, reader.handles("*args", handles)) for handles in lists)
    number = args.get("number", [1] * len(groups))
    if number == 1 and not isinstance(number, bool):
        number = [1] * len(groups)
    if not isinstance(number, list) or len(number) != len(groups):
        raise reader.error(f"number {number!r} must be a list with one entry for each of the {len(groups)} groups")
    needed = tuple(reader.count(value, len(group)) for value, group in zip(number, groups, strict=True))
    members = tuple(dict.fromkeys(name for group in groups for name in group))
    threshold = reader.threshold()

    def bind(facts: Facts) -> Bindings:
        # A cluster is a set of things connected by is_next_to; the largest that has enough of every group counts.
        for cluster in _clusters(facts, members, threshold):
            chosen = [tuple(name for name in group if name in cluster) for group in groups]
            if all(len(names) >= count for names, count in zip(chosen, needed, strict=True)):
                return {f"*args_{position}": names for position, names in enumerate(chosen)}
        return {}

    return Predicate("is_clustered", groups, (), needed, False, lambda facts: bool(bind(facts)), bind)


def _of_subjects(
    reader: _Reader, subjects: tuple[str, ...], counterparts: tuple[str, ...], tests: Sequence[Counterpart]
) -> Predicate:
    """The predicate "``number`` of ``subjects`` pass one of ``tests``" (all of them the same test)."""
    name = reader.proposition.function_name
    number = reader.count(reader.proposition.args.get("number", 1), len(subjects))
    arguments = _HANDLE_ARGUMENTS[name]

    def pairs(facts: Facts) -> list[tuple[str, str]]:
        for test in tests:
            found = []
            for subject in subjects:
                counterpart = test(facts, subject)
                if counterpart is not None:
                    found.append((subject, counterpart))
                    if len(found) == number:
                        return found
        return []

    def bind(facts: Facts) -> Bindings:
        found = pairs(facts)
        return dict(zip(arguments, zip(*found, strict=True), strict=False)) if found else {}

    if len(tests) == 1 and len(subjects) == 1:
        test, subject = tests[0], subjects[0]

        def holds(facts: Facts) -> bool:
            return test(facts, subject) is not None
    else:

        def holds(facts: Facts) -> bool:
            return bool(pairs(facts))

    return Predicate(name, (subjects,), counterparts, (number,), _wants_same(reader), holds, bind)


def _wants_same(reader: _Reader) -> bool:
    return any(bool(reader.proposition.args.get(flag, False)) for flag in _SAME_COUNTERPART)


def _groups(reader: _Reader, counterparts: tuple[str, ...]) -> list[tuple[str, ...]]:
    """The counterparts that count together: each by itself where all subjects must share one."""
    return [(name,) for name in counterparts] if _wants_same(reader) else [counterparts]


def _rooms(facts: Facts) -> set[str]:
    floors = {thing.parent.removeprefix("floor_") for thing in facts.objects.values() if thing.relation == "floor"}
    return {*facts.rooms, *facts.furniture_rooms.values(), *floors}


def _has_parent(relations: tuple[Relation, ...], parents: tuple[str, ...]) -> Counterpart:
    def parent(facts: Facts, name: str) -> str | None:
        thing = facts.objects[name]
        return thing.parent if thing.relation in relations and thing.parent in parents else None

    return parent


def _is_in(rooms: tuple[str, ...]) -> Counterpart:
    def room(facts: Facts, name: str) -> str | None:
        found = facts.room_of(name)
        return found if found in rooms else None

    return room


def _lies_on_floor(facts: Facts, name: str) -> str | None:
    return "" if facts.objects[name].relation == "floor" else None


def _placeable(reader: _Reader, names: tuple[str, ...]) -> tuple[str, ...]:
    """``names``, if the place of each is known: objects, and furniture that has a box."""
    facts = reader.facts
    reader.among(names, set(facts.objects) | set(facts.furniture_rooms), "entity")
    for name in names:
        if name not in facts.objects and name not in facts.furniture_boxes:
            raise reader.error(
                f"the place of '{name}' is unknown", "name an object, or a world that knows its furniture's boxes"
            )
    return names


def _neighbour_among(others: tuple[str, ...], threshold: float) -> Counterpart:
    def neighbour(facts: Facts, name: str) -> str | None:
        for other in others:
            if other != name and next_to(facts, name, other, threshold):
                return other
        return None

    return neighbour


def next_to(facts: Facts, a: str, b: str, l2_threshold: float = L2_THRESHOLD) -> bool:
    """Whether two things, objects or furniture, stand next to each other; never while one of them is held."""
    box_a, box_b = _box(facts, a), _box(facts, b)
    if box_a is None or box_b is None:
        return False
    (ax0, ay0, az0), (ax1, ay1, az1) = box_a
    (bx0, by0, bz0), (bx1, by1, bz1) = box_b
    if max(by0 - ay1, ay0 - by1) > VERTICAL_PADDING + _ROUNDING:
        return False
    return hypot(max(bx0 - ax1, ax0 - bx1, 0.0), max(bz0 - az1, az0 - bz1, 0.0)) <= l2_threshold + _ROUNDING


def _box(facts: Facts, name: str) -> tuple[tuple[float, float, float], tuple[float, float, float]] | None:
    thing = facts.objects.get(name)
    if thing is None:
        return facts.furniture_boxes[name]
    return None if thing.relation == "held" else (thing.position, thing.position)


def _clusters(facts: Facts, names: tuple[str, ...], threshold: float) -> list[set[str]]:
    """Groups of things connected by ``next_to``, largest first, in order of ``names`` among equals."""
    left = list(names)
    clusters: list[set[str]] = []
    while left:
        frontier = [left.pop(0)]
        cluster = set(frontier)
        while frontier:
            here = frontier.pop()
            near = [name for name in left if next_to(facts, here, name, threshold)]
            left = [name for name in left if name not in near]
            frontier += near
            cluster.update(near)
        clusters.append(cluster)
    return sorted(clusters, key=len, reverse=True)
