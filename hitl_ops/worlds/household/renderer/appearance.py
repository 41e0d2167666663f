"""Colours: of what a description leaves open (walls, agents), and how states change them."""

from __future__ import annotations

from hitl_ops.worlds.household.scene_description import Color

WALL: Color = (0.90, 0.87, 0.81)
SKIRTING: Color = (0.62, 0.56, 0.49)
CEILING: Color = (0.95, 0.95, 0.93)
DOOR_LEAF: Color = (0.58, 0.42, 0.28)
DOOR_SILL: Color = (0.52, 0.42, 0.32)
DOOR_KNOB: Color = (0.85, 0.72, 0.35)
BACKGROUND: Color = (0.93, 0.94, 0.96)

AGENT_COLORS: tuple[Color, ...] = ((0.93, 0.48, 0.13), (0.13, 0.47, 0.80), (0.30, 0.65, 0.32), (0.62, 0.36, 0.72))
"""Body colours of agent_0, agent_1, …, used again from the start beyond the last."""
AGENT_HEAD: Color = (0.96, 0.90, 0.82)
AGENT_VISOR: Color = (0.12, 0.13, 0.16)
AGENT_LEGS: Color = (0.27, 0.28, 0.33)

_DIRT: Color = (0.33, 0.22, 0.10)
_WATER: Color = (0.30, 0.58, 0.92)
_LIGHT: Color = (1.0, 0.95, 0.72)


def agent_color(agent: int) -> Color:
    """The body colour of an agent."""
    return AGENT_COLORS[agent % len(AGENT_COLORS)]


def tinted(color: Color, states: dict[str, bool], lamp: float) -> tuple[float, float, float, float]:
    """A part's colour in its owner's states, and how much it glows.

    Args:
        color: red, green, blue in 0 … 1.
        states: the owner's states (PARTNR's names).
        lamp: how much the part shows that its owner is switched on: 1 a lamp, 0 not at all.

    Returns:
        red, green, blue, and glow: 0 shaded by the room's light … 1 shining by itself.
    """
    glow = 0.0
    if states.get("is_powered_on"):
        color = _mixed(color, _LIGHT, 0.8 * lamp)
        glow = 0.8 * lamp
    elif lamp == 1.0:
        color = _mixed(color, (0.0, 0.0, 0.0), 0.35)
    if states.get("is_clean") is False:
        color = _mixed(color, _DIRT, 0.5)
    if states.get("is_filled"):
        color = _mixed(color, _WATER, 0.4)
    return (*color, glow)


def _mixed(color: Color, other: Color, share: float) -> Color:
    red, green, blue = (a + (b - a) * share for a, b in zip(color, other, strict=True))
    return (red, green, blue)
