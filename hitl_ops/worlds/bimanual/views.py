"""Where the station's cameras are and what they see, as matrices."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hitl_ops.worlds.bimanual.geometry import HAND_BODY, Vec3

Pose = tuple[tuple[float, float, float], tuple[float, float, float, float]]
"""Position and quaternion (xyzw)."""
Poses = dict[str, list[Pose]]
"""Body → the poses of its links, root first."""

NEAR, FAR = 0.02, 4.0
_HAND_LINK = 6


@dataclass(frozen=True, slots=True)
class View:
    """A camera on the wall (``body`` empty) or on a link.

    Attributes:
        eye: where it is, in the world's or the link's frame.
        target: where it looks.
        up: what is up in its picture.
        fov: vertical field of view, degrees.
        body: whose hand carries it, ``"left"`` or ``"right"``.
    """

    eye: Vec3
    target: Vec3
    up: Vec3
    fov: float
    body: str = ""


VIEWS = {
    "cam_high": View((-0.10, 0.0, 0.86), (0.37, 0.0, 0.06), (0.0, 0.0, 1.0), 50.0),
    "cam_low": View((1.02, 0.0, 0.30), (0.32, 0.0, 0.12), (0.0, 0.0, 1.0), 48.0),
    "cam_left_wrist": View((-0.015, 0.0, 0.085), (HAND_BODY + 0.09, 0.0, -0.01), (0.0, 0.0, 1.0), 62.0, "left"),
    "cam_right_wrist": View((-0.015, 0.0, 0.085), (HAND_BODY + 0.09, 0.0, -0.01), (0.0, 0.0, 1.0), 62.0, "right"),
}


def rotations(turns: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rotation matrices [n, 3, 3] of quaternions [n, 4] (xyzw)."""
    x, y, z, w = turns.T
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
    return np.array(rows).transpose(2, 0, 1)


def view_matrix(view: View, poses: Poses) -> NDArray[np.float64]:
    """World to eye, [4, 4], for column vectors (eye: +x right, +y up, looking along -z)."""
    eye, target, up = np.array(view.eye), np.array(view.target), np.array(view.up)
    if view.body:
        place, turn = poses[view.body][_HAND_LINK]
        rotation = rotations(np.array([turn]))[0]
        eye, target, up = rotation @ eye + place, rotation @ target + place, rotation @ up
    ahead = (target - eye) / np.linalg.norm(target - eye)
    right = np.cross(ahead, up)
    right /= np.linalg.norm(right)
    matrix = np.eye(4)
    matrix[:3, :3] = right, np.cross(right, ahead), -ahead
    matrix[:3, 3] = -matrix[:3, :3] @ eye
    return matrix


def projection_matrix(view: View, height: int, width: int) -> NDArray[np.float64]:
    """Eye to clip space, [4, 4], OpenGL's convention."""
    half = math.tan(math.radians(view.fov) / 2)
    matrix = np.zeros((4, 4))
    matrix[0, 0], matrix[1, 1] = height / (half * width), 1 / half
    matrix[2, 2], matrix[2, 3] = -(FAR + NEAR) / (FAR - NEAR), -2 * FAR * NEAR / (FAR - NEAR)
    matrix[3, 2] = -1.0
    return matrix
