"""What a policy of the arm looks like."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from hitl_ops.contracts.config import StrictConfig


class ReachPolicyConfig(StrictConfig):
    """A Gaussian policy and a value, each a small network of its own."""

    hidden: tuple[int, ...] = Field(default=(128, 128), min_length=1, description="neurons of each layer")
    activation: Literal["tanh", "relu"] = Field(default="relu", description="of hidden layers")
    log_std: float = Field(default=-0.7, ge=-5, le=2, description="logarithm of the first spread of actions")
