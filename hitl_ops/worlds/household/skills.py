"""What each tool does: when it may, what it changes, and what it answers.

``refusal`` says why a tool cannot be carried out now (PARTNR's answers, to the letter); ``perform`` carries it
out. Walking is not here: the world moves agents along routes.
"""

from __future__ import annotations

import math

from hitl_ops.contracts.action import Action
from hitl_ops.worlds.household.catalog import kind_of, spoken
from hitl_ops.worlds.household.home_state import HomeState
from hitl_ops.worlds.household.tools import STATE_OF_TOOL, SUCCESS, TOOLS, failure

NEXT_TO = 0.5
"""PARTNR's threshold for 'next to', metres."""


def malformed(state: HomeState, agent: int, abilities: tuple[str, ...], action: Action) -> str | None:
    """The answer to a call that names no tool, or things the agent does not know of; None for a good call."""
    if action.tool not in abilities:
        return f'Tool "{action.tool}" not found'
    tool = TOOLS[action.tool]
    if len(action.args) != len(tool.arguments):
        wanted = ", ".join(tool.arguments)
        return f"{action.tool} takes {len(tool.arguments)} arguments [{wanted}], {len(action.args)} were given."
    for argument, value in zip(tool.arguments, action.args, strict=True):
        if argument in ("obj", "nav_target", "furn", "room") and not _is_known(state, agent, argument, value):
            hint = (
                "Explore rooms to find objects first."
                if argument in ("obj", "nav_target")
                else "Check the furniture list."
            )
            return f"Node with name {value} not present in the graph. {hint}"
        if argument == "ref" and action.args[3] == "next_to" and not _is_known(state, agent, "obj", value):
            return f"Node with name {value} not present in the graph. Explore rooms to find objects first."
    if "relation" in tool.arguments and action.args[1] not in ("on", "within"):
        return f"{action.tool} takes 'on' or 'within' as its second argument, not '{action.args[1]}'."
    if "constraint" in tool.arguments and action.args[3] not in ("None", "next_to"):
        return f"{action.tool} takes 'next_to' or 'None' as its fourth argument, not '{action.args[3]}'."
    return None


def _is_known(state: HomeState, agent: int, argument: str, name: str) -> bool:
    if argument == "room":
        return name in state.rooms
    if name in state.furniture or (name.startswith("floor_") and name.removeprefix("floor_") in state.rooms):
        return True
    return name in state.knowledge[agent].objects or (argument == "nav_target" and name in state.rooms)


def refusal(state: HomeState, agent: int, action: Action) -> str | None:
    """Why a well-formed action cannot be carried out where the agent stands now; None if it can."""
    name = action.args[0] if action.args else ""
    match action.tool:
        case "Pick":
            return _refuse_pick(state, agent, name)
        case "Place":
            return _refuse_place(state, agent, action)
        case "Open" | "Close":
            if name not in state.facts.furniture_open:
                return failure(f"Failed to {action.tool.lower()}! {name} is not articulated - and cannot be opened.")
            if not state.within_reach(agent, name):
                return failure(f"Failed to {action.tool.lower()}! {name} is occluded or too far from agent to open.")
            return None
        case "Clean" | "Fill" | "PowerOn" | "PowerOff":
            return _refuse_state(state, agent, action.tool, name)
        case "Pour":
            return _refuse_pour(state, agent, name)
    return None


def _refuse_pick(state: HomeState, agent: int, name: str) -> str | None:
    held = state.facts.agents[agent].held
    if name not in state.facts.objects:
        return failure("Failed to pick! This is not a movable object.")
    thing = state.facts.objects[name]
    if thing.relation == "held":
        mine = thing.parent == f"agent_{agent}"
        return failure(
            "Failed! This object is already held by this agent."
            if mine
            else "Failed! This object is held by another agent."
        )
    if held is not None:
        return failure(
            f"Failed to pick {name}! The arm is currently grasping {held}. "
            "Make the agent place the grasped object first."
        )
    if thing.relation == "within" and not state.facts.furniture_open.get(thing.parent, True):
        return failure("Failed to pick! Object is in a closed furniture, you need to open the furniture first.")
    if not state.within_reach(agent, name):
        return failure("Failed to pick! Not close enough to the object.")
    return None


def _refuse_place(state: HomeState, agent: int, action: Action) -> str | None:
    name, relation, target, constraint, reference = action.args
    if name not in state.facts.objects or state.facts.agents[agent].held != name:
        return failure("Failed to place! The agent is not holding any object.")
    on_floor = target.startswith("floor_")
    if not on_floor and target not in state.furniture:
        return failure("Failed to place! Place receptacle is not furniture or floor.")
    if on_floor:
        body = state.facts.agents[agent]
        near = state.scene.room_at(body.x, body.z) == target.removeprefix("floor_")
    else:
        near = state.within_reach(agent, target)
    if not near:
        return failure(f"Failed to place! Not close enough to {target} or occluded.")
    if relation == "within" and not on_floor and not state.facts.furniture_open.get(target, True):
        return failure("Failed to place! The receptacle is a closed furniture, you need to open the furniture first.")
    if choose_slot(state, target, relation, reference if constraint == "next_to" else None) is None:
        return failure(f"No valid placements found for entity {target}.")
    return None


def _refuse_state(state: HomeState, agent: int, tool: str, name: str) -> str | None:
    wanted, _ = STATE_OF_TOOL[tool]
    if state.facts.state(name, wanted) is None:
        return failure(f"The targeted object does not afford the state: {wanted}")
    if not state.within_reach(agent, name):
        verb = {"Clean": "clean", "Fill": "fill", "PowerOn": "power on", "PowerOff": "power off"}[tool]
        return failure(f"Agent too far from object to {verb}: Distance {state.distance(agent, name):.2f}")
    thing = state.facts.objects.get(name)
    if thing is not None and thing.relation == "within" and not state.facts.furniture_open.get(thing.parent, True):
        return failure("Object is in a closed furniture, you need to open the furniture first.")
    if tool == "Fill":
        x, _, z = state.position_of(name)
        if not state.near_faucet(x, z):
            return failure("The object is not close enough to a water source")
    return None


def _refuse_pour(state: HomeState, agent: int, name: str) -> str | None:
    held = state.facts.agents[agent].held
    if held is None or not state.facts.state(held, "is_filled"):
        return failure("Unable to pour: the agent holds no filled container.")
    if name == held or state.facts.state(name, "is_filled") is None:
        return failure(f"Unable to pour: {name} cannot be filled.")
    if not state.within_reach(agent, name):
        return failure(f"Unable to pour: {name} is too far, distance {state.distance(agent, name):.2f}")
    return None


def choose_slot(state: HomeState, target: str, relation: str, reference: str | None) -> int | None:
    """The first free place, or the free one nearest to ``reference`` within the 'next to' distance; None if none."""
    free = state.free_slots(target, _relation(target, relation))
    if not free:
        return None
    if reference is None:
        return free[0]
    thing = state.facts.objects.get(reference)
    if thing is None or thing.relation == "held":
        return None
    slots = state.scene.slots(target, _relation(target, relation))
    distance, slot = min((math.dist(slots[index], thing.position), index) for index in free)
    return slot if distance <= NEXT_TO else None


def _relation(target: str, relation: str) -> str:
    return "floor" if target.startswith("floor_") else relation


def perform(state: HomeState, agent: int, action: Action) -> str:
    """Carry out an action that nothing refuses; returns its answer."""
    name = action.args[0] if action.args else ""
    match action.tool:
        case "Pick":
            state.take(agent, name)
        case "Place":
            _, relation, target, constraint, reference = action.args
            slot = choose_slot(state, target, relation, reference if constraint == "next_to" else None)
            assert slot is not None  # refusal() was asked in the same step
            # malformed() has refused every relation but these.
            state.put(agent, name, _relation(target, relation), target, slot)  # type: ignore[arg-type]
        case "Open" | "Close":
            state.set_open(name, action.tool == "Open")
            body = state.facts.agents[agent]
            state.look(agent, body.x, body.z)
        case "Clean" | "Fill" | "PowerOn" | "PowerOff":
            changed, value = STATE_OF_TOOL[action.tool]
            state.set_state(name, changed, value)
        case "Pour":
            held = state.facts.agents[agent].held
            assert held is not None
            state.set_state(held, "is_filled", False)
            state.set_state(name, "is_filled", True)
    return SUCCESS


def find(state: HomeState, agent: int, action: Action, partner_last: str) -> str:
    """The answer of a perception tool: everything known whose name has a word of the text in it."""
    words = {word.strip(".,").lower() for word in (action.args[0] if action.args else "").replace("_", " ").split()}

    def matches(name: str) -> bool:
        return bool(words & set(spoken(kind_of(name)).split()))

    match action.tool:
        case "FindObjectTool":
            found = [
                f"{name}: {belief.parent}" for name, belief in state.knowledge[agent].objects.items() if matches(name)
            ]
        case "FindReceptacleTool":
            found = [f"{name} in {piece.room}" for name, piece in state.furniture.items() if matches(name)]
        case "FindRoomTool":
            found = [name for name in state.rooms if matches(name)]
        case _:
            return f"The other agent's last action: {partner_last or 'none yet'}"
    return "; ".join(found) if found else "Nothing found. Explore rooms to find objects first."
