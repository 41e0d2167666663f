"""Where ALOHA's hands are for given joints, and which joints bring them where they are to be.

Reckoned with MuJoCo's own model of the arms: an arm of six joints reaches a place with a turn in one way near the pose
it is in, which damped least squares find in a few steps.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import numpy.typing as npt

from hitl_ops.worlds.aloha.gym_tasks import load_arms

Side = Literal["left", "right"]
SIDES: tuple[Side, ...] = ("left", "right")
GRASP_POINT = 0.145
"""From a hand's own frame forward to the middle between its fingertips, metres."""

_DAMPING = 1e-4
_MOST_STEPS = 40
_CLOSE_ENOUGH = 1e-5
_LONGEST_STEP = 0.2

Float64 = npt.NDArray[np.float64]


def hand_turn(yaw: float, pitch: float, roll: float) -> Float64:
    """A hand's turn, [3, 3]: yaw about z, then pitch downwards, then roll about the line it points along.

    Without roll its fingers close horizontally; at yaw 0 it points along x, which is from the left arm to the right.
    """
    (cy, cp, cr), (sy, sp, sr) = np.cos((yaw, pitch, roll)), np.sin((yaw, pitch, roll))
    return np.array(
        (
            (cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr),
            (sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr),
            (-sp, cp * sr, cp * cr),
        )
    )


def hand_angles(turn: Float64) -> tuple[float, float, float]:
    """Yaw, pitch and roll of a turn; see :func:`hand_turn`."""
    return (
        math.atan2(turn[1, 0], turn[0, 0]),
        math.asin(min(1.0, max(-1.0, -turn[2, 0]))),
        math.atan2(turn[2, 1], turn[2, 2]),
    )


class AlohaKinematics:
    """The arms' geometry.

    Raises:
        UserError: gym-aloha is not installed.
    """

    def __init__(self) -> None:
        import mujoco

        self._mujoco = mujoco
        self._model = load_arms()
        self._data = mujoco.MjData(self._model)
        self._bodies = {side: self._model.body(f"vx300s_{side}/gripper_link").id for side in SIDES}
        self._first = {"left": 0, "right": 8}
        self._limits = {side: self._model.jnt_range[self._first[side] : self._first[side] + 6].copy() for side in SIDES}

    def hand(self, side: Side, joints: npt.ArrayLike) -> tuple[Float64, Float64]:
        """Where the middle between an arm's fingertips is, [3] metres, and how the hand is turned, [3, 3].

        Args:
            side: which arm.
            joints: its six joints, radians.
        """
        first, body = self._first[side], self._bodies[side]
        self._data.qpos[first : first + 6] = joints
        self._mujoco.mj_kinematics(self._model, self._data)
        turn = self._data.xmat[body].reshape(3, 3).copy()
        return self._data.xpos[body] + GRASP_POINT * turn[:, 0], turn

    def joints(self, side: Side, place: npt.ArrayLike, turn: Float64, near: npt.ArrayLike) -> Float64:
        """The six joints that bring a hand to a place with a turn; the nearest to it where it is out of reach.

        Args:
            side: which arm.
            place: where the middle between the fingertips is to be, metres.
            turn: how the hand is to be turned, [3, 3].
            near: six joints to begin from.
        """
        mujoco, model, data = self._mujoco, self._model, self._data
        first, body, limits = self._first[side], self._bodies[side], self._limits[side]
        joints = np.array(near, dtype=np.float64)
        jacobian, damping = np.zeros((6, model.nv)), _DAMPING * np.eye(6)
        for _ in range(_MOST_STEPS):
            now, turned = self.hand(side, joints)
            # A small turn's axis times its angle, from the part of the difference that is skew.
            apart = turn @ turned.T
            error = np.empty(6)
            error[:3] = np.asarray(place) - now
            error[3:] = 0.5 * np.array(
                (apart[2, 1] - apart[1, 2], apart[0, 2] - apart[2, 0], apart[1, 0] - apart[0, 1])
            )
            if np.abs(error).max() < _CLOSE_ENOUGH:
                break
            mujoco.mj_comPos(model, data)
            mujoco.mj_jac(model, data, jacobian[:3], jacobian[3:], now, body)
            part = jacobian[:, first : first + 6]
            back = part.T.copy()  # a copy: of a matrix and its own transpose BLAS makes work for several threads
            step = back @ np.linalg.solve(part @ back + damping, error)
            step *= min(1.0, _LONGEST_STEP / max(np.abs(step).max(), 1e-12))
            joints = np.clip(joints + step, limits[:, 0], limits[:, 1])
        return joints
