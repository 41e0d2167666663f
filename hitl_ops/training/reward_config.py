"""How a reward is learned from preferences."""

from __future__ import annotations

from pydantic import Field

from hitl_ops.contracts.config import StrictConfig
from hitl_ops.contracts.preference import WorthOf
from hitl_ops.models.reward_config import RewardModelConfig


class RewardTrainConfig(StrictConfig):
    """Learning a reward from what people said of pairs of clips."""

    model: RewardModelConfig = Field(default=RewardModelConfig(), description="what the reward looks like")
    steps: int = Field(default=150, ge=1, description="optimizer steps")
    batch_pairs: int = Field(default=64, ge=1, description="pairs a step")
    learning_rate: float = Field(default=2e-3, gt=0)
    weight_decay: float = Field(default=1.0, ge=0, description="AdamW's; regularises all weights, not the biases")
    reward_penalty: float = Field(
        default=0.0, ge=0, description="weight of the mean squared worth of a clip: keeps sums from drifting apart"
    )
    answer_noise: float = Field(
        default=0.2,
        ge=0,
        lt=1,
        description="share of answers taken to be given by lot, half of them wrong; one wrong answer then costs no "
        "more than its logarithm",
    )
    clip: float = Field(default=50.0, gt=0, description="a difference between two clips counts at most so much")
    worth: WorthOf = Field(
        default="sum",
        description="what a clip is worth: its steps' sum, as Bradley and Terry's model in the "
        "literature has it, or their mean, for clips of different lengths",
    )
    bootstrap: bool = Field(
        default=False,
        description="whether each member learns from a sample of the pairs drawn with replacement; else they differ in "
        "first weights alone, and each has all there is to learn from",
    )
    weigh_annotators: bool = Field(
        default=True, description="whether people who contradict themselves or the others count less; see reliability"
    )
    validation_share: float = Field(
        default=0.1, ge=0, lt=1, description="of the pairs, never learned from; chosen by the pair's id"
    )
    seed: int = Field(default=0, description="of first weights, samples and order")
