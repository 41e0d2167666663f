"""What imitation's side is told; read by both environments."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from hitl_ops.contracts.config import StrictConfig
from hitl_ops.evaluation.reach_evaluation import ReachEvaluationConfig
from hitl_ops.models.reward_config import RewardModelConfig
from hitl_ops.training.ppo_config import PPOConfig
from hitl_ops.worlds.reach.config import ReachConfig


class ImitationSettings(StrictConfig):
    """A run of imitation's preference comparisons.

    What is not set here is as imitation's own script ``train_preference_comparisons`` has it: networks of two layers of
    32, running normalisation of inputs and rewards.
    """

    world: ReachConfig = Field(description="where it acts")
    ppo: PPOConfig = Field(description="how its policy learns; steps, warm starts and caution are not taken from here")
    evaluation: ReachEvaluationConfig = Field(description="the examination")
    comparisons: int = Field(ge=1, description="in all")
    steps: int = Field(ge=1, description="of the world, in all; rounded to whole rollouts a helping")
    helpings: int = Field(ge=1, description="after the first comparisons: its num_iterations")
    fragment: int = Field(ge=1, description="steps of a clip")
    errors: float = Field(ge=0, le=1, description="share of answers that name the worse clip")
    selection: Literal["random", "active"] = Field(
        description="fragments by lot for a single network, or those on which five networks disagree most"
    )
    sees: RewardModelConfig | None = Field(
        default=None, description="the reward sees what ours does; null: the whole observation and the action"
    )
    epochs: int = Field(default=3, ge=1, description="over all comparisons, after each helping")
    schedule: Literal["hyperbolic", "constant", "inverse_quadratic"] = Field(
        default="hyperbolic", description="how comparisons are spread over the helpings"
    )
    first_share: float = Field(default=0.1, gt=0, lt=1, description="of the comparisons, asked of an untrained policy")
    first_epochs: int = Field(default=600, ge=1, description="over these; its 200 times 3")
    exploration: float = Field(default=0.05, ge=0, le=1, description="share of fragments that are partly by lot")
    seed: int = Field(default=0, ge=0)
