"""Propositions in words: what must be, what is, and what was done."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from hitl_ops.worlds.household.predicates import Predicate
from hitl_ops.worlds.household.task_definition import Gate

_STATE_WORDS = {
    "is_clean": ("clean", "cleaned"),
    "is_dirty": ("dirty", "made dirty"),
    "is_filled": ("filled", "filled"),
    "is_empty": ("empty", "emptied"),
    "is_powered_on": ("switched on", "switched on"),
    "is_powered_off": ("switched off", "switched off"),
}
_ARGUMENT_WORDS = {
    "object_handles": "object",
    "receptacle_handles": "furniture",
    "room_ids": "room",
    "entity_handles_a": "object",
    "entity_handles_b": "object",
}
_GATE_WORDS = {
    "while_satisfied": "while {}",
    "after_satisfied": "after this was so: {}",
    "after_unsatisfied": "after this was so and no longer is: {}",
    "before_satisfied": "as long as this was never so: {}",
}


def must_be(predicate: Predicate, rooms: Mapping[str, str]) -> str:
    """E.g. ``"mug_1 must be on table_2 (living_room_1)"``.

    Args:
        predicate: the proposition.
        rooms: furniture name → room, to say where furniture stands.
    """
    return f"{_subject(predicate)} must be {_state(predicate, rooms)}"


def must_still_be(predicate: Predicate, rooms: Mapping[str, str]) -> str:
    """E.g. ``"mug_1 must still be on table_2 (living_room_1) at the end"``."""
    return f"{_subject(predicate)} must still be {_state(predicate, rooms)} at the end"


def it_is(predicate: Predicate, rooms: Mapping[str, str]) -> str:
    """E.g. ``"mug_1 is on table_2 (living_room_1)"``."""
    return f"{_subject(predicate)} {'are' if _plural(predicate) else 'is'} {_state(predicate, rooms)}"


def was_done(predicate: Predicate, rooms: Mapping[str, str]) -> str:
    """E.g. ``"mug_1 was placed on table_2 (living_room_1)"``."""
    be = "were" if _plural(predicate) else "was"
    words = _STATE_WORDS.get(predicate.function_name)
    if words is not None:
        return f"{_subject(predicate)} {be} {words[1]}"
    verb = "brought to" if predicate.function_name == "is_in_room" else "placed"
    state = _state(predicate, rooms).removeprefix("in ") if verb == "brought to" else _state(predicate, rooms)
    return f"{_subject(predicate)} {be} {verb} {state}"


def only_when(gates: Iterable[Gate], predicates: tuple[Predicate, ...], rooms: Mapping[str, str]) -> str:
    """When a proposition counts, e.g. ``" (counts only while mug_1 is on table_2 (living_room_1))"``; may be empty."""
    conditions = []
    for gate in gates:
        joined = (" and " if gate.every else " or ").join(it_is(predicates[index], rooms) for index in gate.depends_on)
        conditions.append(_GATE_WORDS[gate.relation].format(joined))
    return f" (counts only {' and '.join(conditions)})" if conditions else ""


def argument_words(argument: str) -> str:
    """What a constraint's argument is called in a sentence."""
    return _ARGUMENT_WORDS.get(argument, "object")


def alternatives(names: Iterable[str]) -> str:
    """``"a"``, ``"a or b"``, ``"a, b or c"``."""
    return _listed(list(names), "or")


def _subject(predicate: Predicate) -> str:
    if predicate.function_name == "is_clustered":
        parts = [_some_of(names, count) for names, count in zip(predicate.subjects, predicate.numbers, strict=True)]
        return _listed(parts, "and")
    return _some_of(predicate.subjects[0], predicate.numbers[0])


def _some_of(names: tuple[str, ...], count: int) -> str:
    if count == len(names):
        return _listed(list(names), "and")
    return alternatives(names) if count == 1 else f"{count} of {', '.join(names)}"


def _plural(predicate: Predicate) -> bool:
    return sum(predicate.numbers) > 1


def _state(predicate: Predicate, rooms: Mapping[str, str]) -> str:
    name = predicate.function_name
    if name in _STATE_WORDS:
        return _STATE_WORDS[name][0]
    if name == "is_on_floor":
        return "on the floor"
    if name == "is_clustered":
        return "next to each other"
    where = alternatives(_place(counterpart, rooms) for counterpart in predicate.counterparts)
    together = (
        " (the same one)" if predicate.same and sum(predicate.numbers) > 1 and len(predicate.counterparts) > 1 else ""
    )
    return {"is_on_top": "on", "is_inside": "inside", "is_in_room": "in", "is_next_to": "next to"}[
        name
    ] + f" {where}{together}"


def _place(name: str, rooms: Mapping[str, str]) -> str:
    if name.startswith("floor_"):
        return f"the floor of {name.removeprefix('floor_')}"
    return f"{name} ({rooms[name]})" if name in rooms else name


def _listed(parts: list[str], conjunction: str) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} {conjunction} {parts[-1]}"
