"""PARTNR's tools: their names, arguments, step costs, limits and answers (arXiv 2411.00081).

What a tool does to the facts is in ``skills.py``; this page is the vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

SUCCESS = "Successful execution!"
NO_ACTION = "No actions were assigned. Please assign action to this agent."

STEPS_PER_SECOND = 30
WALKING_SPEED = 1.5
"""Metres a second: the longest way in a generated home then stays inside Navigate's limit."""


def failure(message: str) -> str:
    """A failed skill's answer."""
    return f"Unexpected failure! - {message}"


@dataclass(frozen=True)
class Tool:
    """One tool an agent may call.

    Attributes:
        name: as written in actions.
        arguments: names of its arguments.
        limit: simulation steps after which it is given up.
        duration: simulation steps it takes where it needs no walking.
        description: what it does, for prompts of language models.
    """

    name: str
    arguments: tuple[str, ...]
    limit: int
    duration: int
    description: str


TOOLS: dict[str, Tool] = {
    tool.name: tool
    for tool in (
        Tool("Navigate", ("nav_target",), 600, 0, "walk to an object, a piece of furniture or a room"),
        Tool("Explore", ("room",), 2400, 30, "walk into a room and look round it"),
        Tool("Pick", ("obj",), 25, 12, "take an object within reach into the hand"),
        Tool("Place", ("obj", "relation", "furn", "constraint", "ref"), 25, 12, "put down the held object"),
        Tool("Rearrange", ("obj", "relation", "furn", "constraint", "ref"), 1000, 0, "fetch an object and put it down"),
        Tool("Open", ("furn",), 10, 8, "open a piece of furniture"),
        Tool("Close", ("furn",), 10, 8, "close a piece of furniture"),
        Tool("Clean", ("obj",), 1000, 45, "clean an object within reach"),
        Tool("Fill", ("obj",), 1000, 45, "fill a container with water beside a faucet"),
        Tool("Pour", ("obj",), 1000, 30, "pour the held container into another one"),
        Tool("PowerOn", ("obj",), 1000, 15, "switch something on"),
        Tool("PowerOff", ("obj",), 1000, 15, "switch something off"),
        Tool("FindObjectTool", ("text",), 1, 0, "say where known objects of a description are"),
        Tool("FindReceptacleTool", ("text",), 1, 0, "say where furniture of a description stands"),
        Tool("FindRoomTool", ("text",), 1, 0, "say which rooms match a description"),
        Tool("FindAgentActionTool", (), 1, 0, "say what the other agent did last"),
        Tool("Wait", (), 600, 600, "wait until the other agent has done something"),
        Tool("Done", (), 1, 0, "say that nothing is left to do"),
    )
}

MOTOR_TOOLS = ("Navigate", "Explore", "Pick", "Place", "Open", "Close", "Wait", "Done")
STATE_TOOLS = ("Clean", "Fill", "Pour", "PowerOn", "PowerOff")
PERCEPTION_TOOLS = ("FindObjectTool", "FindReceptacleTool", "FindRoomTool", "FindAgentActionTool")

STATE_OF_TOOL = {
    "Clean": ("is_clean", True),
    "Fill": ("is_filled", True),
    "PowerOn": ("is_powered_on", True),
    "PowerOff": ("is_powered_on", False),
}

DEFAULT_ABILITIES: tuple[tuple[str, ...], tuple[str, ...]] = (
    (*MOTOR_TOOLS, "Rearrange", *PERCEPTION_TOOLS),
    (*MOTOR_TOOLS, "Rearrange", *STATE_TOOLS, *PERCEPTION_TOOLS),
)
"""Tools of agent 0 (PARTNR's robot) and agent 1 (its human): only agent 1 can change states."""

UNSEEN_BY_PARTNER = ("Navigate", "Explore", "Wait", *PERCEPTION_TOOLS)
"""Actions the other agent is not told of: PARTNR leaves out navigate, explore and find; waiting says nothing."""
