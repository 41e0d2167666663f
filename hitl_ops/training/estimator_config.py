"""What the training of an advantage estimator can be told."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from hitl_ops.contracts.config import StrictConfig
from hitl_ops.models.estimator_config import DELTA, EstimatorConfig
from hitl_ops.training.train_config import flat

# These decide what is reported, how often something is written or shown and how fast it goes, never what the weights
# become.
_OF_THE_REPORT = frozenset({"delta", "report_episodes"})
_WITHOUT_EFFECT = frozenset({"save_interval", "keep_period", "log_every", "workers", "cache"}) | _OF_THE_REPORT


class EstimatorTrainConfig(StrictConfig):
    """Regression of progress, or of differences of progress between moments of the same episode."""

    model: EstimatorConfig = Field(default=EstimatorConfig(), description="the estimator")
    name: str = Field(
        default="",
        pattern=r"^[A-Za-z0-9._-]*$",
        description="of the estimator, which files with its estimates carry; empty: its variant",
    )
    column: str = Field(default="stage_progress_gt", description="column with the progress of every frame, 0 to 1")
    seed: int = Field(default=0, ge=0, description="first weights, choice of frames, augmentation, validation split")
    steps: int = Field(default=2000, ge=1, description="optimizer steps")
    episodes_per_batch: int = Field(default=16, ge=1, description="episodes a step, over all processes together")
    frames_per_episode: int = Field(
        default=8,
        ge=2,
        description="frames looked at of each of them; KAI0 compares each with each of the others, in both directions",
    )
    near_share: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="share of the episodes in a step whose frames are taken near each other; the others' are taken "
        "from anywhere in the episode",
    )
    near_span: int = Field(default=100, ge=2, description="how many frames 'near' means")
    learning_rate: float = Field(default=1e-3, gt=0, description="peak learning rate")
    schedule: Literal["cosine", "linear_end", "constant"] = Field(
        default="cosine", description="learning rate after the warm-up; linear_end: constant, then down over a half"
    )
    warmup_steps: int = Field(default=100, ge=0, description="steps over which the learning rate rises linearly")
    final_learning_rate_share: float = Field(
        default=0.02, ge=0, le=1, description="share of the peak that a falling schedule ends at"
    )
    weight_decay: float = Field(default=1e-2, ge=0, description="AdamW's decay of matrices")
    beta1: float = Field(default=0.9, ge=0, lt=1, description="AdamW's memory of the gradient")
    beta2: float = Field(default=0.98, ge=0, lt=1, description="AdamW's memory of the squared gradient")
    max_grad_norm: float = Field(default=1.0, ge=0, description="gradients are scaled down to this norm; 0: never")
    brightness: float = Field(
        default=0.0, ge=0, lt=1, description="pictures of an episode are made lighter or darker by up to this share"
    )
    shift: int = Field(
        default=0, ge=0, description="pictures of an episode are moved by up to this many pixels, each way"
    )
    least_deviation: float = Field(
        default=1e-2, gt=0, description="deviation below which a joint is not scaled up: it would be all noise"
    )
    precision: Literal["fp32", "bf16"] = Field(default="fp32", description="bf16 runs matrix products in bfloat16")
    device: Literal["auto", "cpu"] = Field(default="auto", description="auto takes an accelerator where there is one")
    validation_fraction: float = Field(
        default=0.15, ge=0, lt=1, description="share of the episodes kept aside to look at; 0: none"
    )
    validation_frames: int = Field(
        default=16, ge=2, description="frames of each of them, evenly spaced, at the looks during the training"
    )
    delta: int = Field(default=DELTA, ge=1, description="frames that the advantages of the last report look ahead")
    report_episodes: int = Field(
        default=64, ge=1, description="episodes kept aside that the last report estimates in full, at most"
    )
    eval_every: int = Field(default=200, ge=1, description="steps between two looks at the validation loss")
    save_interval: int = Field(default=500, ge=1, description="steps between two checkpoints")
    keep_period: int = Field(
        default=0, ge=0, description="checkpoints of every so many steps are kept for good; 0: only the newest"
    )
    log_every: int = Field(default=10, ge=1, description="steps between two lines of the log and the tracker")
    workers: int = Field(
        default=0, ge=0, le=256, description="processes that fetch pictures beside the training; 0: it does itself"
    )
    cache: bool = Field(
        default=True,
        description="whether every video is decoded once, into a file of shrunken pictures beside the checkpoints; "
        "otherwise frames are decoded whenever they are looked at",
    )

    @property
    def called(self) -> str:
        """The estimator's name."""
        return self.name or self.model.variant

    def decisive(self) -> dict[str, Any]:
        """The fields that can change the weights, as plain flat data (``model.variant``)."""
        return {key: value for key, value in flat(self.model_dump(mode="json")).items() if key not in _WITHOUT_EFFECT}

    def of_the_report(self) -> dict[str, Any]:
        """The fields that change what is reported of the weights, and nothing else."""
        return self.model_dump(mode="json", include=set(_OF_THE_REPORT))
