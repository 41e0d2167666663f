"""What a change would make of a task, found out without making it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hitl_ops.contracts.action import Action
from hitl_ops.worlds.household.home_state import HomeState
from hitl_ops.worlds.household.predicates import Predicate
from hitl_ops.worlds.household.skills import choose_slot
from hitl_ops.worlds.household.tools import STATE_OF_TOOL


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a change would make of the propositions.

    Attributes:
        gained: those that would come to hold.
        lost: those that would no longer.
    """

    gained: frozenset[int]
    lost: frozenset[int]


def outcome_of(
    state: HomeState, agent: int, action: Action, predicates: Sequence[Predicate], holds: Sequence[bool]
) -> Outcome:
    """What an action that changes something would make of a task's propositions.

    Args:
        state: the home; it is the same afterwards.
        agent: who acts.
        action: ``Place``, ``Rearrange``, ``Pour`` or one that sets a state, supposed to be carried out in full. One
            for which there is no room, and any other action, makes nothing of them.
        predicates: the propositions.
        holds: which of them hold now.
    """
    with _supposing(state, agent, action):
        then = [predicate.holds(state.facts) for predicate in predicates]
    return Outcome(
        frozenset(index for index, (now, later) in enumerate(zip(holds, then, strict=True)) if later and not now),
        frozenset(index for index, (now, later) in enumerate(zip(holds, then, strict=True)) if now and not later),
    )


@contextlib.contextmanager
def _supposing(state: HomeState, agent: int, action: Action) -> Iterator[None]:
    """Have the facts say that an action is done, until the block ends."""
    if action.tool in ("Place", "Rearrange"):
        with _placed(state, action):
            yield
    elif action.tool in STATE_OF_TOOL:
        with _set(state, {action.args[0]: STATE_OF_TOOL[action.tool]}):
            yield
    elif action.tool == "Pour":
        held = state.facts.agents[agent].held
        with _set(state, {held or "": ("is_filled", False), action.args[0]: ("is_filled", True)}):
            yield
    else:
        yield


@contextlib.contextmanager
def _placed(state: HomeState, action: Action) -> Iterator[None]:
    name, relation, target, constraint, reference = action.args
    slot = choose_slot(state, target, relation, reference if constraint == "next_to" else None)
    if slot is None:
        yield
        return
    thing = state.facts.objects[name]
    before = (thing.relation, thing.parent, thing.slot, thing.position)
    actual = "floor" if target.startswith("floor_") else relation
    thing.relation, thing.parent, thing.slot = actual, target, slot  # type: ignore[assignment]  # on, within or floor
    thing.position = state.scene.slots(target, actual)[slot]
    try:
        yield
    finally:
        thing.relation, thing.parent, thing.slot, thing.position = before


@contextlib.contextmanager
def _set(state: HomeState, wanted: dict[str, tuple[str, bool]]) -> Iterator[None]:
    facts = state.facts
    before: list[tuple[dict[str, bool], str, bool]] = []
    try:
        for thing, (name, value) in wanted.items():
            states = facts.objects[thing].states if thing in facts.objects else facts.furniture_states.get(thing, {})
            if name in states:
                before.append((states, name, states[name]))
                states[name] = value
        yield
    finally:
        for states, name, value in reversed(before):
            states[name] = value
