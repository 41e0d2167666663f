"""From where a hand is to be to an arm's joints, in closed form.

With the forearm's roll at rest an arm moves in the plane through its waist's axis: two links and a wrist. A hand that
points straight down can so be brought to any place in reach and turned to any angle.
"""

from __future__ import annotations

import math

import numpy as np

from hitl_ops.contracts.robot import Float32
from hitl_ops.worlds.bimanual.geometry import BASE_X, BASE_Y, FOREARM, GRASP_POINT, SHOULDER_HEIGHT, UPPER_ARM, Side

_QUARTER = {"left": math.pi / 2, "right": -math.pi / 2}
# A hand is the same after half a turn; each arm takes the one its wrist reaches without winding.


def arm_joints(side: Side, place: tuple[float, float, float], closing: float) -> tuple[float, ...]:
    """The six joints that bring a hand pointing straight down to a place.

    Args:
        side: which arm.
        place: x, y, z of the point between the fingertips, metres; beyond reach the arm points there, stretched.
        closing: angle about z of the line along which the fingers close, radians; 0 is the x axis.
    """
    x = place[0] - BASE_X
    y = place[1] - (BASE_Y if side == "left" else -BASE_Y)
    rise = place[2] + GRASP_POINT - SHOULDER_HEIGHT
    waist, out = math.atan2(y, x), math.hypot(x, y)
    square = UPPER_ARM**2 + FOREARM**2 - out**2 - rise**2
    elbow = math.asin(min(1.0, max(-1.0, square / (2 * UPPER_ARM * FOREARM))))
    along, across = UPPER_ARM - FOREARM * math.sin(elbow), FOREARM * math.cos(elbow)
    shoulder = math.atan2(along * out - across * rise, along * rise + across * out)
    return waist, shoulder, elbow, 0.0, math.pi / 2 - shoulder - elbow, waist + _QUARTER[side] - closing


def hand_place(side: Side, joints: Float32) -> tuple[float, float, float]:
    """Where the point between an arm's fingertips is, metres.

    Args:
        side: which arm.
        joints: its six joints, radians.
    """
    waist, shoulder, elbow, roll, wrist = (float(value) for value in joints[:5])
    pitch = shoulder + elbow
    out = UPPER_ARM * math.sin(shoulder) + FOREARM * math.cos(pitch)
    up = SHOULDER_HEIGHT + UPPER_ARM * math.cos(shoulder) - FOREARM * math.sin(pitch)
    # The hand's axis in the forearm's frame after roll and wrist, then pitched with the forearm.
    ahead, below = math.cos(wrist), -math.sin(wrist)
    side_way, below = -below * math.sin(roll), below * math.cos(roll)
    out += GRASP_POINT * (ahead * math.cos(pitch) + below * math.sin(pitch))
    up += GRASP_POINT * (below * math.cos(pitch) - ahead * math.sin(pitch))
    across = GRASP_POINT * side_way
    x = BASE_X + out * math.cos(waist) - across * math.sin(waist)
    y = (BASE_Y if side == "left" else -BASE_Y) + out * math.sin(waist) + across * math.cos(waist)
    return x, y, up


def home_pose() -> Float32:
    """Both hands above the table's near corners, open, pointing down, [14] float32."""
    left = (*arm_joints("left", (0.24, 0.24, 0.24), 0.0), 1.0)
    right = (*arm_joints("right", (0.24, -0.24, 0.24), 0.0), 1.0)
    return np.array([*left, *right], dtype=np.float32)
