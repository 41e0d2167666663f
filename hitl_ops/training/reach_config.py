"""What a training of the arm's policy is told: where it acts, and how it learns."""

from __future__ import annotations

from pydantic import Field

from hitl_ops.contracts.config import StrictConfig
from hitl_ops.training.ppo_config import PPOConfig
from hitl_ops.worlds.reach.config import ReachConfig


class ReachTrainConfig(StrictConfig):
    """A training of the arm's policy."""

    world: ReachConfig = Field(default=ReachConfig(), description="where it acts")
    ppo: PPOConfig = Field(default=PPOConfig(), description="how it learns")
