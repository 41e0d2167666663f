"""Moving a real robot to a pose, slowly enough to be watched."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from hitl_ops.contracts.robot import Float32
from robot_client.robots.robot import RobotFault, Stopped

_STEP_S = 0.02
_SETTLE_S = 2.0


def glide(
    position: Callable[[], Float32],
    command: Callable[[Float32], None],
    pose: Float32,
    *,
    seconds: float,
    tolerance: float,
    stopped: Stopped,
) -> None:
    """Move from where the robot is to ``pose``, and wait until it is there.

    Args:
        position: where it is, [dim].
        command: sends it somewhere.
        pose: where it shall be, [dim].
        seconds: how long the way takes.
        tolerance: how near is near enough, in the joints' own units.
        stopped: whether to stop on the way; it is then sent where it is.

    Raises:
        RobotFault: it does not get there.
    """
    start = position().copy()
    began = time.monotonic()
    while True:
        if stopped():
            command(position())
            return
        share = min(1.0, (time.monotonic() - began) / seconds)
        smooth = share * share * (3 - 2 * share)
        command((start + smooth * (pose - start)).astype(np.float32))
        away = np.abs(position() - pose)
        if share == 1.0 and away.max() <= tolerance:
            return
        if time.monotonic() - began > seconds + _SETTLE_S:
            command(position())
            raise RobotFault(
                f"the robot does not reach its starting pose: joint {int(away.argmax())} is {away.max():.2f} off",
                "see what is in its way, or correct robot.options.starting_pose",
            )
        time.sleep(_STEP_S)
