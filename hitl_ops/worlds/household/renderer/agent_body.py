"""How an agent looks: legs, trunk, head with a visor to the front, and an arm that is raised while it holds."""

from __future__ import annotations

import math
from typing import Literal

from hitl_ops.worlds.household.facts import AgentFacts
from hitl_ops.worlds.household.renderer import appearance
from hitl_ops.worlds.household.scene_description import Part, Vec3

_HAND_AHEAD = 0.48
_HAND_ASIDE = 0.2
_HAND_HEIGHT = 1.14


When = Literal["always", "empty", "holding"]


def body(agent: int) -> list[tuple[Part, When]]:
    """The parts of agent ``agent`` in its frame (+x ahead, +z to the right), and when each is drawn.

    It is 1.7 m tall and 0.54 m wide.
    """
    color = appearance.agent_color(agent)
    sleeve = (0.82 * color[0], 0.82 * color[1], 0.82 * color[2])
    left, right = (
        Part(shape="cylinder", center=(0.0, 1.02, side * 0.22), size=(0.1, 0.6, 0.1), color=sleeve) for side in (-1, 1)
    )
    raised = Part(center=(0.2, _HAND_HEIGHT - 0.04, _HAND_ASIDE), size=(0.5, 0.08, 0.08), color=sleeve)
    always = [
        Part(shape="cylinder", center=(0.0, 0.36, 0.0), size=(0.26, 0.72, 0.26), color=appearance.AGENT_LEGS),
        Part(shape="cylinder", center=(0.0, 1.0, 0.0), size=(0.36, 0.62, 0.36), color=color),
        Part(shape="sphere", center=(0.0, 1.3, 0.0), size=(0.36, 0.36, 0.36), color=color),
        Part(shape="sphere", center=(0.0, 1.56, 0.0), size=(0.28, 0.28, 0.28), color=appearance.AGENT_HEAD),
        Part(center=(0.1, 1.58, 0.0), size=(0.09, 0.07, 0.16), color=appearance.AGENT_VISOR),
        left,
    ]
    return [*((part, "always") for part in always), (right, "empty"), (raised, "holding")]


def hand(agent: AgentFacts) -> Vec3:
    """Where the underside of a held object is, in the world's frame."""
    cosine, sine = math.cos(agent.yaw), math.sin(agent.yaw)
    return (
        agent.x + cosine * _HAND_AHEAD + sine * _HAND_ASIDE,
        _HAND_HEIGHT,
        agent.z - sine * _HAND_AHEAD + cosine * _HAND_ASIDE,
    )
