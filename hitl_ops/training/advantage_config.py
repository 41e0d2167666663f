"""Which policies are trained from advantage labels: the one that is told of them, and what it is compared with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

from pydantic import Field, field_validator

from hitl_ops.contracts.config import StrictConfig
from hitl_ops.training.action_config import ActionTrainConfig

Variant = Literal["awbc", "bc", "filtered_bc", "awr"]
VARIANTS: tuple[Variant, ...] = get_args(Variant)
VARIANT_NAMES: Mapping[Variant, str] = {
    "awbc": "told of advantages (AWBC)",
    "bc": "plain cloning (BC)",
    "filtered_bc": "only good frames (filtered BC)",
    "awr": "weighted by advantage (AWR)",
}


class AdvantagePoliciesConfig(StrictConfig):
    """Which policies are trained, how often, and how."""

    variants: tuple[Variant, ...] = Field(default=VARIANTS, min_length=1, description="which of them")
    seeds: tuple[int, ...] = Field(default=(0, 1, 2), min_length=1, description="trainings of each, by seed")
    training: ActionTrainConfig = Field(
        default=ActionTrainConfig(indicator_dropout=0.3),
        description="what each is told; the baselines differ in what they make of the labels alone",
    )
    at_once: int = Field(
        default=0, ge=0, le=256, description="trained beside each other; 0: one a core, or one where there is a GPU"
    )

    @field_validator("variants", "seeds")
    @classmethod
    def _each_once(cls, given: tuple[Any, ...]) -> tuple[Any, ...]:
        if len(set(given)) != len(given):
            raise ValueError("each is to be named once")
        return given

    @property
    def names(self) -> list[str]:
        """The trainings, as their folders are called: ``awbc_0``."""
        return [policy_name(variant, seed) for variant in self.variants for seed in self.seeds]


def policy_name(variant: Variant, seed: int) -> str:
    """What one training's folder is called."""
    return f"{variant}_{seed}"


def variant_training(training: ActionTrainConfig, variant: Variant, seed: int) -> ActionTrainConfig:
    """What one training is told: as much as the others, but for what it makes of the labels.

    Args:
        training: what the advantage-conditioned policy is told.
        variant: which policy.
        seed: of first weights, order and dropout.
    """
    if variant == "awbc":
        return training.replace(seed=seed, learn_from="all")
    # A policy that is never told has no input for it either.
    untold = {"seed": seed, "model": training.model.replace(advantage="none").model_dump(), "indicator_dropout": 1.0}
    learn_from = {"bc": "all", "filtered_bc": "good", "awr": "weighted"}[variant]
    return training.replace(**untold, learn_from=learn_from)
