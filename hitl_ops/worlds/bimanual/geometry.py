"""What the station is built of: every solid's size, place and colour, in metres, z up, x away from the robot.

One list of parts is the source of the physics' bodies and of the pictures alike.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Vec3 = tuple[float, float, float]
Rgb = tuple[float, float, float]
Side = Literal["left", "right"]

SIDES: tuple[Side, Side] = ("left", "right")

BASE_X, BASE_Y = 0.0, 0.25
"""Where the arms stand: the left one at (0, +0.25), the right one at (0, -0.25)."""
SHOULDER_HEIGHT = 0.16
UPPER_ARM = 0.33
FOREARM = 0.33
ELBOW_TO_ROLL = 0.12
"""How far along the forearm its roll joint is."""
HAND_BODY = 0.115
"""From the wrist's axis to where the fingers begin."""
FINGER_LENGTH = 0.06
GRASP_POINT = HAND_BODY + FINGER_LENGTH - 0.013
"""From the wrist's axis to between the fingertips' pads."""
FINGER_TRAVEL = 0.035
"""How far each finger moves from closed to open."""
FINGER_THICKNESS = 0.010
FINGER_WIDTH = 0.022

BOWL_RIM_HEIGHT = 0.066
BOWL_RIM_RADIUS = 0.080
BOWL_FOOT_RADIUS = 0.050
BOWL_SIDES = 12
BOWL_MIDDLE: Vec3 = (0.0, 0.0, 0.030)
"""The bowl's centre of mass, above the middle of its foot."""
LUG_REACH = 0.106
"""From the bowl's axis to the middle of the lug that is held."""
LUG_HEIGHT = 0.052
"""Height of the lug's middle above the bowl's foot."""

LID_RADIUS = 0.084
LID_THICKNESS = 0.008
LID_PLUG_RADIUS = 0.066
LID_PLUG_DEPTH = 0.010
KNOB: Vec3 = (0.020, 0.040, 0.036)
"""The lid's knob: a bar, its long side along the lid's y; a hand closes along the lid's x."""
KNOB_GRASP_HEIGHT = LID_THICKNESS / 2 + 0.022
"""Where the knob is best held, above the lid's origin (the middle of its disc)."""
LID_SEAT_HEIGHT = BOWL_RIM_HEIGHT + LID_THICKNESS / 2
"""Height of the seated lid's origin above the bowl's foot."""

_STEEL: Rgb = (0.42, 0.45, 0.50)
_DARK: Rgb = (0.16, 0.17, 0.20)
_JOINT: Rgb = (0.27, 0.29, 0.33)
_LEFT: Rgb = (0.20, 0.47, 0.78)
_RIGHT: Rgb = (0.88, 0.45, 0.16)
_PAD: Rgb = (0.10, 0.10, 0.11)
_BOWL: Rgb = (0.86, 0.88, 0.90)
_LUG: Rgb = (0.30, 0.62, 0.56)
_LID: Rgb = (0.80, 0.24, 0.24)
_KNOB: Rgb = (0.97, 0.80, 0.25)
_TABLE: Rgb = (0.74, 0.62, 0.47)
_FLOOR: Rgb = (0.55, 0.58, 0.62)


@dataclass(frozen=True, slots=True)
class Part:
    """One convex solid of a link.

    Attributes:
        shape: ``"box"``, or ``"cylinder"`` along its own z.
        size: extents of a box; (diameter, diameter, length) of a cylinder.
        center: in the link's frame.
        rpy: roll, pitch, yaw in the link's frame.
        color: red, green, blue, 0 to 1.
        solid: whether it touches things.
        seen: whether it is drawn.
    """

    shape: Literal["box", "cylinder"]
    size: Vec3
    center: Vec3
    color: Rgb
    rpy: Vec3 = (0.0, 0.0, 0.0)
    solid: bool = True
    seen: bool = True


@dataclass(frozen=True, slots=True)
class Link:
    """One rigid body of a chain and the joint by which it hangs on its parent.

    Attributes:
        name: the link's, and its joint's, name.
        parent: name of the parent link; empty for the root.
        origin: the joint in the parent's frame.
        axis: the joint's axis.
        kind: URDF's word for the joint.
        limits: lower and upper end, radians or metres.
        mass: kilograms.
        parts: what it is made of.
    """

    name: str
    mass: float
    parts: tuple[Part, ...]
    parent: str = ""
    origin: Vec3 = (0.0, 0.0, 0.0)
    axis: Vec3 = (0.0, 0.0, 1.0)
    kind: Literal["fixed", "revolute", "prismatic"] = "fixed"
    limits: tuple[float, float] = (0.0, 0.0)


ARM_LIMITS: tuple[tuple[float, float], ...] = (
    (-2.6, 2.6),
    (-1.7, 1.9),
    (-1.57, 1.6),
    (-3.1, 3.1),
    (-1.9, 2.4),
    (-3.1, 3.1),
)
"""Lower and upper end of an arm's six joints, radians."""


def arm_links(side: Side) -> tuple[Link, ...]:
    """An arm, root first: waist, shoulder, elbow, forearm roll, wrist angle, wrist rotation, two fingers."""
    tint = _LEFT if side == "left" else _RIGHT
    half_pi = math.pi / 2

    def tube(diameter: float, length: float, center: Vec3, color: Rgb, rpy: Vec3 = (0.0, half_pi, 0.0)) -> Part:
        # Arms pass each other by the way they are placed; only hands touch things, which is also what costs time.
        return Part("cylinder", (diameter, diameter, length), center, color, rpy, solid=False)

    finger = (FINGER_LENGTH, FINGER_THICKNESS, FINGER_WIDTH)
    middle = FINGER_LENGTH / 2
    limits = ARM_LIMITS
    return (
        Link("base", 2.0, (tube(0.13, 0.05, (0, 0, 0.025), _DARK, (0, 0, 0)),)),
        Link(
            "waist",
            0.8,
            (tube(0.09, 0.09, (0, 0, -0.055), _JOINT, (0, 0, 0)), tube(0.085, 0.10, (0, 0, 0), tint, (half_pi, 0, 0))),
            "base",
            (0, 0, SHOULDER_HEIGHT),
            (0, 0, 1),
            "revolute",
            limits[0],
        ),
        Link(
            "shoulder",
            0.8,
            (
                Part("box", (0.05, 0.055, UPPER_ARM), (0, 0, UPPER_ARM / 2), _STEEL, solid=False),
                tube(0.075, 0.085, (0, 0, UPPER_ARM), tint, (half_pi, 0, 0)),
            ),
            "waist",
            (0, 0, 0),
            (0, 1, 0),
            "revolute",
            limits[1],
        ),
        Link(
            "elbow",
            0.4,
            (Part("box", (ELBOW_TO_ROLL, 0.05, 0.05), (ELBOW_TO_ROLL / 2, 0, 0), _STEEL, solid=False),),
            "shoulder",
            (0, 0, UPPER_ARM),
            (0, 1, 0),
            "revolute",
            limits[2],
        ),
        Link(
            "forearm_roll",
            0.3,
            (
                tube(0.045, FOREARM - ELBOW_TO_ROLL, ((FOREARM - ELBOW_TO_ROLL) / 2, 0, 0), _STEEL),
                tube(0.055, 0.06, (FOREARM - ELBOW_TO_ROLL, 0, 0), tint, (half_pi, 0, 0)),
            ),
            "elbow",
            (ELBOW_TO_ROLL, 0, 0),
            (1, 0, 0),
            "revolute",
            limits[3],
        ),
        Link(
            "wrist_angle",
            0.2,
            (tube(0.04, 0.06, (0.03, 0, 0), _JOINT),),
            "forearm_roll",
            (FOREARM - ELBOW_TO_ROLL, 0, 0),
            (0, 1, 0),
            "revolute",
            limits[4],
        ),
        Link(
            "wrist_rotate",
            0.25,
            (
                Part("box", (0.045, 0.05, 0.04), (0.072, 0, 0), tint, solid=False),
                Part("box", (0.022, 2 * FINGER_TRAVEL + 0.03, 0.036), (HAND_BODY - 0.011, 0, 0), _DARK),
            ),
            "wrist_angle",
            (0, 0, 0),
            (1, 0, 0),
            "revolute",
            limits[5],
        ),
        Link(
            "finger_a",
            0.04,
            (
                Part("box", finger, (middle, FINGER_THICKNESS / 2, 0), _STEEL),
                Part(
                    "box", (0.026, 0.002, FINGER_WIDTH + 0.001), (FINGER_LENGTH - 0.013, 0.0005, 0), _PAD, solid=False
                ),
            ),
            "wrist_rotate",
            (HAND_BODY, 0, 0),
            (0, 1, 0),
            "prismatic",
            (0.0, FINGER_TRAVEL),
        ),
        Link(
            "finger_b",
            0.04,
            (
                Part("box", finger, (middle, -FINGER_THICKNESS / 2, 0), _STEEL),
                Part(
                    "box", (0.026, 0.002, FINGER_WIDTH + 0.001), (FINGER_LENGTH - 0.013, -0.0005, 0), _PAD, solid=False
                ),
            ),
            "wrist_rotate",
            (HAND_BODY, 0, 0),
            (0, -1, 0),
            "prismatic",
            (0.0, FINGER_TRAVEL),
        ),
    )


def bowl_parts() -> tuple[Part, ...]:
    """The bowl, its origin in the middle of its foot: a ring of slanted walls, a floor, and a lug on its +y side.

    What touches is simpler than what is seen: a square core below the lid's plug and four pieces of rim that the lid
    lies on. Boxes touch boxes at a fifth of what a round lid in a ring of walls costs.
    """
    rise, run = BOWL_RIM_HEIGHT, BOWL_RIM_RADIUS - BOWL_FOOT_RADIUS
    slant, tilt = math.hypot(rise, run), math.atan2(run, rise)
    radius = (BOWL_RIM_RADIUS + BOWL_FOOT_RADIUS) / 2
    width = 2 * BOWL_RIM_RADIUS * math.tan(math.pi / BOWL_SIDES)
    parts = []
    for side in range(BOWL_SIDES):
        around = 2 * math.pi * side / BOWL_SIDES
        center = (radius * math.cos(around), radius * math.sin(around), rise / 2)
        parts.append(Part("box", (0.006, width, slant), center, _BOWL, (0.0, tilt, around), solid=False))
    parts.append(
        Part("cylinder", (2 * BOWL_FOOT_RADIUS, 2 * BOWL_FOOT_RADIUS, 0.008), (0, 0, 0.004), _BOWL, solid=False)
    )
    core = BOWL_RIM_HEIGHT - LID_PLUG_DEPTH - 0.004
    parts.append(Part("box", (2 * radius, 2 * radius, core), (0, 0, core / 2), _BOWL, seen=False))
    ring = (BOWL_RIM_RADIUS + LID_PLUG_RADIUS) / 2 + 0.002
    for side in range(4):
        around = math.pi / 4 + math.pi / 2 * side
        center = (ring * math.cos(around), ring * math.sin(around), BOWL_RIM_HEIGHT - 0.010)
        parts.append(Part("box", (0.010, 0.090, 0.020), center, _BOWL, (0.0, 0.0, around), seen=False))
    parts.append(Part("box", (0.014, 0.052, 0.026), (0, LUG_REACH - 0.002, LUG_HEIGHT), _LUG))
    return tuple(parts)


def lid_parts() -> tuple[Part, ...]:
    """The lid, its origin in the middle of its disc: a disc, a plug that keeps it from sliding, and the knob."""
    plug_center = -(LID_THICKNESS + LID_PLUG_DEPTH) / 2
    disc, plug = 2 * LID_RADIUS, 2 * LID_PLUG_RADIUS
    inside = math.sqrt(0.5)  # the square in a circle
    return (
        Part("cylinder", (disc, disc, LID_THICKNESS), (0, 0, 0), _LID, solid=False),
        Part("box", (inside * disc, inside * disc, LID_THICKNESS), (0, 0, 0), _LID, seen=False),
        Part("cylinder", (plug, plug, LID_PLUG_DEPTH), (0, 0, plug_center), _LID, solid=False),
        Part("box", (inside * plug, inside * plug, LID_PLUG_DEPTH), (0, 0, plug_center), _LID, seen=False),
        Part("box", KNOB, (0, 0, (LID_THICKNESS + KNOB[2]) / 2), _KNOB),
    )


def scenery_parts() -> tuple[Part, ...]:
    """The table, its top at z = 0, and the floor below it."""
    return (
        Part("box", (0.80, 1.10, 0.04), (0.30, 0, -0.02), _TABLE),
        Part("box", (6.0, 6.0, 0.02), (0.3, 0, -0.75), _FLOOR, solid=False),
    )
