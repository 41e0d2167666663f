"""What an agent can lay hands on from where it stands: ``skills.refusal``, asked about everything near."""

from __future__ import annotations

from collections.abc import Iterator

from hitl_ops.contracts.action import Action
from hitl_ops.worlds.household.home_state import HomeState
from hitl_ops.worlds.household.layout import REACH
from hitl_ops.worlds.household.skills import refusal
from hitl_ops.worlds.household.tools import STATE_OF_TOOL


def things_in_reach(state: HomeState, agent: int, abilities: tuple[str, ...]) -> list[str]:
    """Everything that at least one action of the agent would not be refused for now: objects, then furniture.

    Args:
        state: the home.
        agent: who reaches out.
        abilities: the tools it has.

    Returns:
        Names of objects the agent knows of, then of furniture, each in the home's order. What it holds is among them
        where something beside placing can be done with it (cleaning it, say).
    """
    body = state.facts.agents[agent]
    held, x, z = body.held, body.x, body.z
    known = state.knowledge[agent].objects
    state_tools = [tool for tool in STATE_OF_TOOL if tool in abilities]
    pours = held is not None and "Pour" in abilities
    reached = []
    if (held is None and "Pick" in abilities) or state_tools or pours:
        for name, thing in state.facts.objects.items():
            if thing.relation != "held":
                px, _, pz = thing.position
                # Most things are far away; the exact distance is left to whoever is asked in earnest.
                if abs(px - x) > REACH or abs(pz - z) > REACH or name not in known:
                    continue
            if any(
                refusal(state, agent, action) is None
                for action in _uses(name, thing.states, held, abilities, state_tools, pours)
            ):
                reached.append(name)
    for name, ((x0, _, z0), (x1, _, z1)) in state.facts.furniture_boxes.items():
        if x0 - x > REACH or x - x1 > REACH or z0 - z > REACH or z - z1 > REACH:
            continue
        if any(refusal(state, agent, action) is None for action in _furniture_uses(state, name, held, abilities)):
            reached.append(name)
    return reached


def _uses(
    name: str,
    states: dict[str, bool],
    held: str | None,
    abilities: tuple[str, ...],
    state_tools: list[str],
    pours: bool,
) -> Iterator[Action]:
    if held is None and "Pick" in abilities:
        yield Action("Pick", (name,))
    if states:
        for tool in state_tools:
            if STATE_OF_TOOL[tool][0] in states:
                yield Action(tool, (name,))
        if pours and "is_filled" in states:
            yield Action("Pour", (name,))


def _furniture_uses(state: HomeState, name: str, held: str | None, abilities: tuple[str, ...]) -> Iterator[Action]:
    if name in state.facts.furniture_open and "Open" in abilities:
        yield Action("Open", (name,))
    if name in state.facts.furniture_states and "PowerOn" in abilities:
        yield Action("PowerOn", (name,))
    if held is not None and "Place" in abilities:
        for relation in ("on", "within"):
            if state.scene.slots(name, relation):
                yield Action("Place", (held, relation, name, "None", "None"))
