"""How the arm's policy is trained by PPO."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from hitl_ops.contracts.config import StrictConfig
from hitl_ops.models.reach_policy_config import ReachPolicyConfig


class PPOConfig(StrictConfig):
    """Proximal policy optimisation, by Stable-Baselines3."""

    policy: ReachPolicyConfig = ReachPolicyConfig()
    total_steps: int = Field(
        default=61_440, ge=1, description="steps of all arms together, rounded up to whole rollouts"
    )
    arms: int = Field(default=16, ge=1, le=1024, description="arms in one process")
    rollout_steps: int = Field(default=128, ge=2, description="steps of each arm before the policy is updated")
    batch_size: int = Field(default=256, ge=2, description="steps a gradient is taken over")
    epochs: int = Field(default=10, ge=1, description="times every step is learned from")
    learning_rate: float = Field(default=1e-3, gt=0)
    last_learning_rate: float = Field(
        default=0.1, gt=0, le=1, description="share of it that is left in the last update; falls evenly until then"
    )
    gamma: float = Field(default=0.9, gt=0, le=1, description="discount a step")
    gae_lambda: float = Field(default=0.95, ge=0, le=1)
    clip_range: float = Field(default=0.2, gt=0, description="how far the policy may move in one update")
    value_coefficient: float = Field(default=0.5, ge=0)
    entropy_coefficient: float = Field(default=0.0, ge=0)
    max_grad_norm: float = Field(default=0.5, gt=0)
    least_log_std: float | None = Field(
        default=-1.0,
        ge=-5,
        le=2,
        description="where a warm start has explored less than this, it starts with this again; null: as it was",
    )
    caution: float = Field(
        default=1.0,
        ge=0,
        description="standard deviations of the ensemble taken off a learned reward, so that what "
        "the members do not agree on does not pay",
    )
    checkpoint_rollouts: int = Field(
        default=10,
        ge=1,
        description="rollouts between two checkpoints; every arm begins anew after one, so that a "
        "training that is cut short goes on exactly",
    )
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _can_be(self) -> Self:
        if self.batch_size > self.arms * self.rollout_steps:
            raise ValueError(
                f"batch_size {self.batch_size} is more than a rollout of {self.arms * self.rollout_steps} steps"
            )
        return self

    @property
    def rollout_size(self) -> int:
        """Steps of all arms in a rollout."""
        return self.arms * self.rollout_steps

    @property
    def rollouts(self) -> int:
        """Rollouts of the whole training."""
        return -(-self.total_steps // self.rollout_size)
