"""A policy whose pass takes as long as it is told to, whatever the number of robots: as on an accelerator."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from hitl_ops.contracts.robot import Float32
from hitl_ops.models.robot_policy import HoldPolicy, joints_only


class SleepPolicy(HoldPolicy):
    """Holds the joints after some milliseconds.

    Args:
        pass_ms: how long a pass takes.
    """

    def __init__(self, pass_ms: float) -> None:
        super().__init__(joints_only())
        self._seconds = pass_ms / 1000

    def infer(self, observations: Sequence[dict[str, Any]]) -> list[Float32]:
        """See :class:`~hitl_ops.models.robot_policy.RobotPolicy`."""
        # Gives the interpreter to others meanwhile, as a pass on an accelerator does.
        time.sleep(self._seconds)
        return super().infer(observations)
