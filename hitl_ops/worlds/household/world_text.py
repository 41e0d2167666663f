"""The world as text, as one agent knows it: PARTNR's furniture and object lists."""

from __future__ import annotations

from collections.abc import Iterable

from hitl_ops.worlds.household.home_state import HomeState
from hitl_ops.worlds.household.knowledge import Belief

NO_OBJECTS = "No objects found yet"

_STATE_TEXT = {
    ("is_clean", False): "clean: False",
    ("is_filled", True): "filled: True",
    ("is_powered_on", True): "powered on: True",
}


def furniture_text(state: HomeState) -> str:
    """The rooms with their furniture, and what has a faucet or starts closed; known to every agent."""
    lines = ["Furniture:"]
    for room in state.rooms:
        lines.append(f"{room}: {', '.join(name for name, piece in state.furniture.items() if piece.room == room)}")
    faucets = [name for name, piece in state.furniture.items() if piece.has_faucet]
    if faucets:
        lines.append(f"The following furnitures have a faucet: {', '.join(faucets)}")
    closed = [name for name, is_open in state.facts.furniture_open.items() if not is_open]
    if closed:
        lines.append(f"The following furnitures are closed: {', '.join(closed)}")
    return "\n".join(lines)


def object_line(state: HomeState, agent: int, name: str) -> str:
    """One object as the agent believes it to be: ``mug_1: kitchen_counter_1. States: clean: False``.

    PARTNR may add `` in <room>``; here the furniture's name says it.
    """
    belief = state.knowledge[agent].objects.get(name)
    if belief is None:
        return f"{name}: gone"
    return f"{name}: {_place(agent, belief)}{_states(belief)}"


def _place(agent: int, belief: Belief) -> str:
    if belief.relation == "held":
        return "held by the agent" if belief.parent == f"agent_{agent}" else "held by the other agent"
    return belief.parent


def _states(belief: Belief) -> str:
    """States that are not as they usually are; the usual ones go without saying."""
    texts = [_STATE_TEXT[pair] for pair in belief.states if pair in _STATE_TEXT]
    return f". States: {', '.join(texts)}" if texts else ""


def object_lines(state: HomeState, agent: int, names: Iterable[str]) -> str:
    """Several objects, a line each."""
    return "\n".join(object_line(state, agent, name) for name in names)


def objects_text(state: HomeState, agent: int) -> str:
    """All objects the agent knows of."""
    names = list(state.knowledge[agent].objects)
    return f"Objects:\n{object_lines(state, agent, names) if names else NO_OBJECTS}"


def world_text(state: HomeState, agent: int) -> str:
    """Furniture and objects, as the agent knows them now."""
    return f"{furniture_text(state)}\n{objects_text(state, agent)}"
