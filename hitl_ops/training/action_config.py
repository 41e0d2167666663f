"""What the training of a robot's policy can be told."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from hitl_ops.contracts.config import StrictConfig
from hitl_ops.models.action_model import ActionModelConfig
from hitl_ops.training.train_config import flat

# These decide how often something is written or shown and how fast it goes, never what the weights become.
_WITHOUT_EFFECT = frozenset({"save_interval", "keep_period", "log_every", "workers"})


class ActionTrainConfig(StrictConfig):
    """Behaviour cloning of chunks of actions, told of each episode whether it was good."""

    model: ActionModelConfig = Field(default=ActionModelConfig(), description="the policy")
    seed: int = Field(default=0, ge=0, description="first weights, order of the frames, dropout, validation split")
    steps: int = Field(default=400, ge=1, description="optimizer steps")
    batch_size: int = Field(default=64, ge=1, description="frames a step, over all processes together")
    learning_rate: float = Field(default=1e-3, gt=0, description="peak learning rate")
    schedule: Literal["cosine", "linear_end", "constant"] = Field(
        default="cosine", description="learning rate after the warm-up; linear_end: constant, then down over a half"
    )
    warmup_steps: int = Field(default=20, ge=0, description="steps over which the learning rate rises linearly")
    final_learning_rate_share: float = Field(
        default=0.02, ge=0, le=1, description="share of the peak that a falling schedule ends at"
    )
    weight_decay: float = Field(default=1e-4, ge=0, description="AdamW's decay")
    beta1: float = Field(default=0.9, ge=0, lt=1, description="AdamW's memory of the gradient")
    beta2: float = Field(default=0.98, ge=0, lt=1, description="AdamW's memory of the squared gradient")
    max_grad_norm: float = Field(default=1.0, ge=0, description="gradients are scaled down to this norm; 0: never")
    indicator_dropout: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="share of the frames that are not told what was said of them, anew in each step; 1: nobody is ever "
        "told, which is plain behaviour cloning",
    )
    learn_from: Literal["all", "good", "weighted"] = Field(
        default="all",
        description="all: every frame as often; good: only frames of which good was said (filtered cloning); weighted: "
        "frames drawn by exp(advantage / temperature), as advantage-weighted regression (arXiv 1910.00177)",
    )
    advantage_column: str = Field(
        default="absolute_advantage", min_length=1, description="column that learn_from=weighted weighs frames by"
    )
    temperature: float = Field(
        default=1.0, gt=0, description="of learn_from=weighted, in standard deviations of the advantage"
    )
    largest_weight: float = Field(
        default=20.0, ge=1, description="of learn_from=weighted: no frame counts more than this, before the mean"
    )
    precision: Literal["fp32", "bf16"] = Field(default="fp32", description="bf16 runs matrix products in bfloat16")
    device: Literal["auto", "cpu"] = Field(default="auto", description="auto takes an accelerator where there is one")
    validation_fraction: float = Field(
        default=0.1, ge=0, lt=1, description="share of the episodes kept aside to watch the loss; 0: none"
    )
    validation_frames: int = Field(default=1024, ge=1, description="most frames looked at for the validation loss")
    eval_every: int = Field(default=100, ge=1, description="steps between two looks at the validation loss")
    save_interval: int = Field(default=200, ge=1, description="steps between two checkpoints")
    keep_period: int = Field(
        default=0, ge=0, description="checkpoints of every so many steps are kept for good; 0: only the newest"
    )
    log_every: int = Field(default=10, ge=1, description="steps between two lines of the log and the tracker")
    workers: int = Field(
        default=0, ge=0, le=256, description="processes that decode pictures beside the training; 0: it does itself"
    )

    def decisive(self) -> dict[str, Any]:
        """The fields that can change the weights, as plain flat data (``model.chunk``)."""
        return {key: value for key, value in flat(self.model_dump(mode="json")).items() if key not in _WITHOUT_EFFECT}
