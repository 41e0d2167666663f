"""The KUKA LBR iiwa's geometry: where its links are for given joint angles, and which points its flange can come to.

Dimensions and limits are those of ``kuka_iiwa/model.urdf`` in ``pybullet_data``; a test compares both.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]

JOINTS = 7
TARGET = slice(2 * JOINTS, 2 * JOINTS + 3)
"""Where an observation holds the target's place; joints, then speeds, come before it."""
JOINT_LIMITS: Float64 = np.array(
    [2.96705972839, 2.09439510239, 2.96705972839, 2.09439510239, 2.96705972839, 2.09439510239, 3.05432619099]
)
"""[7] rad; a joint turns from minus to plus this."""

_HALF = np.pi / 2
_ORIGINS: tuple[tuple[tuple[float, float, float], tuple[float, float, float]], ...] = (
    ((0.0, 0.0, 0.1575), (0.0, 0.0, 0.0)),
    ((0.0, 0.0, 0.2025), (_HALF, 0.0, np.pi)),
    ((0.0, 0.2045, 0.0), (_HALF, 0.0, np.pi)),
    ((0.0, 0.0, 0.2155), (_HALF, 0.0, 0.0)),
    ((0.0, 0.1845, 0.0), (-_HALF, np.pi, 0.0)),
    ((0.0, 0.0, 0.2155), (_HALF, 0.0, 0.0)),
    ((0.0, 0.081, 0.0), (-_HALF, np.pi, 0.0)),
)
"""Of each joint in its parent's frame: place (m), and URDF's roll, pitch, yaw (rad)."""

SHOULDER: Float64 = np.array([0.0, 0.0, 0.36])
"""[3] m: where the axes of the first three joints meet."""
_UPPER_ARM, _FOREARM, _HAND = 0.42, 0.40, 0.081


def _frame(place: tuple[float, float, float], rpy: tuple[float, float, float]) -> Float64:
    (cr, cp, cy), (sr, sp, sy) = np.cos(rpy), np.sin(rpy)
    frame = np.eye(4)
    frame[:3, :3] = [
        [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
        [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
        [-sp, cp * sr, cp * cr],
    ]
    frame[:3, 3] = place
    return frame


_FIXED: Float64 = np.stack([_frame(*origin) for origin in _ORIGINS])


def link_frames(joints: npt.NDArray[np.floating]) -> Float64:
    """Where every link is.

    Args:
        joints: [N, 7] rad.

    Returns:
        [N, 8, 4, 4]: the base's frame, then each link's, in the base's frame.
    """
    angles = np.asarray(joints, dtype=np.float64)
    count = len(angles)
    turns = np.zeros((count, JOINTS, 4, 4))
    cos, sin = np.cos(angles), np.sin(angles)
    turns[..., 0, 0], turns[..., 0, 1] = cos, -sin
    turns[..., 1, 0], turns[..., 1, 1] = sin, cos
    turns[..., 2, 2] = turns[..., 3, 3] = 1.0
    moved = _FIXED @ turns
    frames = np.empty((count, JOINTS + 1, 4, 4))
    frames[:, 0] = np.eye(4)
    for joint in range(JOINTS):
        frames[:, joint + 1] = frames[:, joint] @ moved[:, joint]
    return frames


def end_effector(joints: npt.NDArray[np.floating]) -> Float64:
    """Where the flange is: the origin of the last link's frame, not its centre of mass.

    Args:
        joints: [N, 7] rad.

    Returns:
        [N, 3] m, in the base's frame.
    """
    angles = np.asarray(joints, dtype=np.float64)
    cos, sin = np.cos(angles), np.sin(angles)
    # From the flange inwards one point is turned, instead of one frame after the other.
    point = np.broadcast_to(_FIXED[6, :3, 3], (len(angles), 3))
    for joint in range(JOINTS - 2, -1, -1):
        c, s = cos[:, joint], sin[:, joint]
        turned = np.stack([c * point[:, 0] - s * point[:, 1], s * point[:, 0] + c * point[:, 1], point[:, 2]], axis=1)
        point = turned @ _FIXED[joint, :3, :3].T + _FIXED[joint, :3, 3]
    return np.ascontiguousarray(point)


def _reach_bounds() -> tuple[float, float]:
    """How near to the shoulder and how far from it the flange comes, in m, by the limits of elbow and wrist."""
    elbow = np.linspace(0.0, JOINT_LIMITS[3], 400)[:, None]
    wrist = np.linspace(-JOINT_LIMITS[5], JOINT_LIMITS[5], 801)[None, :]
    x = _UPPER_ARM + _FOREARM * np.cos(elbow) + _HAND * np.cos(elbow + wrist)
    y = _FOREARM * np.sin(elbow) + _HAND * np.sin(elbow + wrist)
    distance = np.hypot(x, y)
    return float(distance.min()), float(distance.max())


NEAREST, FARTHEST = _reach_bounds()
"""m from the shoulder: a point nearer or farther than this no joint angles bring the flange to."""


def reachable(points: npt.NDArray[np.floating], margin: float = 0.02) -> npt.NDArray[np.bool_]:
    """Which points the flange can come to, as far as distance decides.

    Args:
        points: [N, 3] m.
        margin: m that the point has to lie inside the bounds.

    Returns:
        [N].
    """
    distance = np.linalg.norm(np.asarray(points, dtype=np.float64) - SHOULDER, axis=1)
    return (distance >= NEAREST + margin) & (distance <= FARTHEST - margin)
