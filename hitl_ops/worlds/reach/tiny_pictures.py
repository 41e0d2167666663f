"""Drawing the reaching arm with PyBullet's TinyRenderer, for machines without OpenGL: slower, needs only a CPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import pybullet  # noqa: TID253 - this module is itself imported only where pictures are asked for

from hitl_ops.contracts.robot import Picture
from hitl_ops.worlds.quiet_physics import connect_quietly
from hitl_ops.worlds.reach.kinematics import JOINTS
from hitl_ops.worlds.reach.views import (
    BALL,
    BALL_RADIUS,
    GROUND,
    GROUND_MIDDLE,
    GROUND_SIZE,
    HAND,
    POST_LENGTH,
    POST_RADIUS,
    SHADE,
    SPOT_HEIGHT,
    SPOT_RADII,
    Color,
    Matrix,
    View,
    arm_file,
)

_LIGHT = (0.5, -0.7, 1.4)
_UPRIGHT = (0.0, 0.0, 0.0, 1.0)


class TinyPictures:
    """See :class:`hitl_ops.worlds.reach.pictures.ArmDrawing`."""

    backend = "pybullet"

    def __init__(self) -> None:
        self._client = connect_quietly(pybullet)
        self._arm: int = pybullet.loadURDF(str(arm_file()), useFixedBase=True, physicsClientId=self._client)
        ground = self._body(pybullet.GEOM_BOX, GROUND, halfExtents=[side / 2 for side in GROUND_SIZE])
        self._place(ground, GROUND_MIDDLE)
        self._ball = self._body(pybullet.GEOM_SPHERE, BALL, radius=BALL_RADIUS)
        self._posts = [
            self._body(pybullet.GEOM_CYLINDER, color, radius=POST_RADIUS, length=POST_LENGTH) for color in (BALL, HAND)
        ]
        self._spots = [
            self._body(pybullet.GEOM_CYLINDER, SHADE, radius=radius, length=SPOT_HEIGHT) for radius in SPOT_RADII
        ]

    def pose(self, joints: Matrix, frames: Matrix, target: Matrix) -> None:
        """See :meth:`hitl_ops.worlds.reach.pictures.ArmDrawing.pose`."""
        for joint in range(JOINTS):
            pybullet.resetJointState(self._arm, joint, float(joints[joint]), physicsClientId=self._client)
        self._place(self._ball, target)
        for post, spot, (x, y, z) in zip(self._posts, self._spots, (target, frames[-1, :3, 3]), strict=True):
            self._place(post, (x, y, z - POST_LENGTH / 2))
            self._place(spot, (x, y, 0.0))

    def draw(self, view: View, size: int) -> Picture:
        """See :meth:`hitl_ops.worlds.reach.pictures.ArmDrawing.draw`."""
        seen = pybullet.getCameraImage(
            size,
            size,
            view.to_eye.T.ravel().tolist(),
            view.to_clip.T.ravel().tolist(),
            renderer=pybullet.ER_TINY_RENDERER,
            shadow=0,
            lightDirection=_LIGHT,
            flags=pybullet.ER_NO_SEGMENTATION_MASK,
            physicsClientId=self._client,
        )
        return np.asarray(seen[2], dtype=np.uint8).reshape(size, size, 4)[:, :, :3]

    def close(self) -> None:
        """Give back the physics that holds the bodies."""
        pybullet.disconnect(self._client)

    def _body(self, shape: int, color: Color, **what: Any) -> int:
        visual = pybullet.createVisualShape(shape, rgbaColor=(*color, 1.0), physicsClientId=self._client, **what)
        body: int = pybullet.createMultiBody(0, -1, visual, physicsClientId=self._client)
        return body

    def _place(self, body: int, place: Any) -> None:
        pybullet.resetBasePositionAndOrientation(
            body, [float(part) for part in place], _UPRIGHT, physicsClientId=self._client
        )
