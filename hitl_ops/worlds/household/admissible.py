"""The actions an agent may name now: what PARTNR's grammar admits, given what the agent knows.

Distance is not looked at, as in PARTNR: an agent may try to pick what it does not reach, and is told so. The
hand, open and closed, on and off, and each kind's affordances are.
"""

from __future__ import annotations

from hitl_ops.contracts.action import Action
from hitl_ops.worlds.household.home_state import HomeState


def admissible_actions(state: HomeState, agent: int, abilities: tuple[str, ...]) -> list[str]:
    """All admissible actions as text, in a fixed order.

    ``Rearrange`` and the perception tools are callable but not listed: the first would multiply objects by
    furniture, the others PARTNR leaves out for trained planners too.
    """
    beliefs = state.knowledge[agent].objects
    held = state.facts.agents[agent].held
    actions = [f"Navigate[{name}]" for name in state.furniture]
    actions += [f"Navigate[{name}]" for name in state.rooms]
    actions += [f"Navigate[{name}]" for name in beliefs if name != held]
    actions += [f"Explore[{name}]" for name in state.rooms]
    if held is None:
        actions += [f"Pick[{name}]" for name, belief in beliefs.items() if belief.relation != "held"]
    else:
        actions += _places(state, agent, held)
    for name, is_open in state.facts.furniture_open.items():
        actions.append(f"Close[{name}]" if is_open else f"Open[{name}]")
    if "Clean" in abilities:
        actions += _state_changes(state, agent, held)
    actions += ["Wait[]", "Done[]"]
    return actions


def _places(state: HomeState, agent: int, held: str) -> list[str]:
    actions = []
    by_parent: dict[tuple[str, str], list[str]] = {}
    for name, belief in state.knowledge[agent].objects.items():
        if belief.relation != "held":
            by_parent.setdefault((belief.parent, belief.relation), []).append(name)
    for name, piece in state.furniture.items():
        relations = [("on", bool(piece.on_slots)), ("within", bool(piece.within_slots))]
        for relation in (relation for relation, possible in relations if possible):
            actions.append(str(Action("Place", (held, relation, name, "None", "None"))))
            actions += [
                str(Action("Place", (held, relation, name, "next_to", other)))
                for other in by_parent.get((name, relation), ())
            ]
    for room in state.rooms:
        floor = f"floor_{room}"
        actions.append(str(Action("Place", (held, "on", floor, "None", "None"))))
        actions += [
            str(Action("Place", (held, "on", floor, "next_to", other))) for other in by_parent.get((floor, "floor"), ())
        ]
    return actions


def _state_changes(state: HomeState, agent: int, held: str | None) -> list[str]:
    actions = []
    pours = held is not None and bool(state.facts.state(held, "is_filled"))
    for name, belief in state.knowledge[agent].objects.items():
        for known, value in belief.states:
            if known == "is_clean" and not value:
                actions.append(f"Clean[{name}]")
            elif known == "is_filled":
                if not value:
                    actions.append(f"Fill[{name}]")
                if pours and name != held:
                    actions.append(f"Pour[{name}]")
            elif known == "is_powered_on":
                actions.append(f"PowerOff[{name}]" if value else f"PowerOn[{name}]")
    for name, states in state.facts.furniture_states.items():
        actions.append(f"PowerOff[{name}]" if states["is_powered_on"] else f"PowerOn[{name}]")
    return actions
