"""Everything about the world `reach` that may be set."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from hitl_ops.contracts.config import StrictConfig
from hitl_ops.worlds.reach.kinematics import JOINTS

PHYSICS_HZ = 240
"""PyBullet's own step; what its motors' gains are meant for."""

Interval = tuple[float, float]


class ReachConfig(StrictConfig):
    """A seven-joint arm (KUKA LBR iiwa) that brings its flange to a target point."""

    end_effector: bool = Field(
        default=True,
        description="whether observations hold the flange's place (20 numbers) beside joints, speeds and target (17)",
    )
    control_hz: int = Field(default=20, ge=1, le=PHYSICS_HZ, description="actions a second; divides 240")
    max_steps: int = Field(default=50, ge=1, description="actions after which an episode is cut off")
    end_on_success: bool = Field(
        default=True,
        description="whether an episode ends when the target is reached; learned rewards want episodes of one length, "
        "else their sign decides whether ending early pays",
    )
    success_m: float = Field(default=0.05, gt=0, description="m from the target that count as reached")
    target_x: Interval = Field(default=(0.2, 0.8), description="m, where targets lie; unreachable ones are drawn again")
    target_y: Interval = (-0.3, 0.3)
    target_z: Interval = (0.2, 0.7)
    start_spread: float = Field(
        default=0.0, ge=0, le=1.5, description="rad; joints start at zero plus uniform noise up to this"
    )
    force: float = Field(default=500.0, gt=0, description="Nm, the most a motor gives")
    max_speed: float = Field(
        default=2.0, gt=0, description="rad/s, the fastest a motor turns; the real arm does 1.5 to 2.4"
    )

    @model_validator(mode="after")
    def _can_be(self) -> Self:
        if PHYSICS_HZ % self.control_hz:
            raise ValueError(f"control_hz {self.control_hz} does not divide {PHYSICS_HZ}")
        for name in ("target_x", "target_y", "target_z"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name} ends before it begins")
        return self

    @property
    def observation_size(self) -> int:
        """Numbers in an observation, D."""
        return 2 * JOINTS + 3 + (3 if self.end_effector else 0)
