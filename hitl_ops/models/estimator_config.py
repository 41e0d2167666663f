"""Which advantage estimator is trained and what it looks at, and what its estimates are called."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from hitl_ops.contracts.config import StrictConfig

DELTA = 50
"""Frames that an advantage looks ahead by default."""
RELATIVE_ADVANTAGE, ABSOLUTE_VALUE, ABSOLUTE_ADVANTAGE = "relative_advantage", "absolute_value", "absolute_advantage"
BackboneName = Literal["small", "resnet18", "resnet34", "resnet50", "smolvla", "pi05"]
VLA_BACKBONES = ("smolvla", "pi05")


class EstimatorConfig(StrictConfig):
    """Which estimator is trained, and what it looks at."""

    variant: Literal["KAI0", "PI06"] = Field(
        default="KAI0",
        description="KAI0 compares two moments of an episode; PI06 looks at one and says how much of the task is done",
    )
    backbone: BackboneName = Field(
        default="small",
        description="what sees: small and the residual networks learn from scratch, smolvla and pi05 are LeRobot's",
    )
    cameras: tuple[str, ...] = Field(
        default=(), description="cameras looked at, by their names in the data set; none named: all it has"
    )
    image_size: int = Field(default=64, ge=16, le=1024, description="rows and columns that pictures are shrunk to")
    use_state: bool = Field(default=True, description="whether it also looks at the joints")
    features: int = Field(
        default=128, ge=1, description="features of one moment; smolvla and pi05 have their own number"
    )
    hidden: int = Field(default=256, ge=1, description="width of the value head's layers")
    pretrained: str = Field(
        default="", description="smolvla and pi05: Hugging Face id or folder of the weights; empty: from scratch"
    )
    tokenizer: str = Field(
        default="", description="smolvla and pi05: Hugging Face id or folder of the tokenizer; empty: as LeRobot has it"
    )
    frozen: Literal["none", "vision", "all"] = Field(
        default="none", description="smolvla and pi05: what of them does not learn; all: only the value head does"
    )
    options: dict[str, Any] = Field(
        default_factory=dict, description="smolvla and pi05: further fields of LeRobot's configuration, by their names"
    )
