"""What a learned reward looks like."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from hitl_ops.contracts.config import StrictConfig


class RewardModelConfig(StrictConfig):
    """An ensemble of small networks, each of which says what a step is worth."""

    members: int = Field(default=10, ge=1, le=64, description="networks in the ensemble; their disagreement asks")
    hidden: tuple[int, ...] = Field(default=(32, 32), min_length=1, description="neurons of each layer")
    activation: Literal["relu", "tanh", "leaky_relu", "softplus"] = Field(
        default="leaky_relu",
        description="of hidden layers; of 150 comparisons of the arm, leaky_relu placed the best "
        "hand 2 cm from the target, tanh 6 cm",
    )
    shape: Literal["free", "concave"] = Field(
        default="free",
        description="concave: the reward falls off on all sides of one best place, as it does where something is to be "
        "brought somewhere; few comparisons then say where that is. free: anything a network can say",
    )
    use_actions: bool = Field(default=True, description="whether it sees what was done, or only what was observed")
    observed: tuple[int, ...] | None = Field(
        default=None, description="numbers of the observation it sees, by place; null: all of them"
    )
    differences: tuple[tuple[int, int], ...] = Field(
        default=(), description="pairs of places in the observation whose difference it sees too, e.g. hand less target"
    )

    @model_validator(mode="after")
    def _sees_something(self) -> Self:
        if self.observed == () and not self.use_actions and not self.differences:
            raise ValueError("the reward would see nothing")
        if self.shape == "concave" and self.activation == "tanh":
            raise ValueError("a concave reward wants an activation that is convex and never falls: not tanh")
        return self
