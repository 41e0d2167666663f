"""What a training can be told. Every field reaches what it names; tests flip each one and look."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from hitl_ops.contracts.config import StrictConfig
from hitl_ops.models.base_models import TinyConfig

# These decide how often something is written or shown, never what the weights become, so a run may be resumed
# with other values.
WITHOUT_EFFECT_ON_WEIGHTS = frozenset({"checkpoint_every", "keep_last", "log_every"})


class LoraShape(StrictConfig):
    """Low-rank adapter; the defaults but ``rank`` are those of PARTNR (arXiv 2411.00081), whose rank is 132."""

    rank: int = Field(default=16, ge=1, description="rank of the update matrices")
    alpha: float = Field(default=128.0, gt=0, description="scale of the update")
    dropout: float = Field(default=0.01, ge=0, lt=1, description="dropout on the adapter's input")
    rank_stabilized: bool = Field(default=True, description="divide alpha by the root of the rank, not by the rank")
    target_modules: tuple[str, ...] = Field(
        default=("q_proj", "v_proj"), min_length=1, description="names of the linear layers that get an adapter"
    )


class OptimizationConfig(StrictConfig):
    """What the loop needs to know, whatever it trains on."""

    seed: int = Field(default=0, ge=0, description="data order, dropout, adapter's initial weights, validation split")
    epochs: int = Field(default=3, ge=1, description="passes over the data; unused where max_steps is given")
    max_steps: int | None = Field(default=None, ge=1, description="optimizer steps, over as many epochs as it takes")
    batch_size: int = Field(
        default=16,
        ge=1,
        description="most samples in one batch, over all processes together; whole episodes are put into it until "
        "the next one does not fit, and an episode with more decisions is cut into consecutive pieces",
    )
    gradient_accumulation: int = Field(default=1, ge=1, description="batches to one optimizer step")
    optimizer: Literal["adamw", "muon"] = Field(
        default="adamw",
        description="muon: Muon for the layers' matrices and AdamW for the rest; for models from scratch",
    )
    learning_rate: float = Field(default=2e-4, gt=0, description="peak learning rate")
    schedule: Literal["cosine", "linear_end", "constant"] = Field(
        default="cosine", description="learning rate after the warm-up; linear_end: constant, then down over a half"
    )
    warmup_steps: int = Field(default=0, ge=0, description="steps over which the learning rate rises linearly")
    final_learning_rate_share: float = Field(
        default=0.0, ge=0, le=1, description="share of the peak that a falling schedule ends at"
    )
    weight_decay: float = Field(default=0.0, ge=0, description="AdamW's decay of matrices; vectors are not decayed")
    beta1: float = Field(default=0.9, ge=0, lt=1, description="AdamW's memory of the gradient")
    beta2: float = Field(default=0.999, ge=0, lt=1, description="AdamW's memory of the squared gradient")
    epsilon: float = Field(default=1e-8, gt=0, description="AdamW's guard against division by zero")
    max_grad_norm: float = Field(default=1.0, ge=0, description="gradients are scaled down to this norm; 0: never")
    pack_tokens: int = Field(
        default=2048, ge=1, description="most tokens of one forward pass (a longer sequence gets one to itself)"
    )
    precision: Literal["fp32", "bf16"] = Field(
        default="fp32", description="bf16 runs matrix products in bfloat16; weights stay as they are"
    )
    compile: bool = Field(default=False, description="torch.compile the model; needs a C++ compiler on the CPU")
    gradient_checkpointing: bool = Field(default=False, description="recompute activations to save memory")
    device: Literal["auto", "cpu"] = Field(default="auto", description="auto takes an accelerator where there is one")
    validation_fraction: float = Field(
        default=0.1, ge=0, lt=1, description="share of the episodes kept aside to watch the loss; 0: none"
    )
    eval_every: int = Field(default=50, ge=1, description="steps between two looks at the validation loss")
    early_stop_patience: int = Field(
        default=0, ge=0, description="stop after this many looks without a new lowest validation loss; 0: never"
    )
    keep: Literal["last", "best"] = Field(
        default="last", description="weights to publish: of the last step, or of the lowest validation loss"
    )
    checkpoint_every: int = Field(default=100, ge=1, description="steps between two checkpoints")
    keep_last: int = Field(default=2, ge=1, description="checkpoints kept on disk")
    log_every: int = Field(default=1, ge=1, description="steps between two lines of the log and the tracker")

    @model_validator(mode="after")
    def _validation_is_there_where_needed(self) -> Self:
        if self.validation_fraction == 0 and (self.early_stop_patience or self.keep == "best"):
            raise ValueError("early_stop_patience and keep='best' need a validation_fraction above 0")
        return self

    def fingerprint(self) -> str:
        """Hash over every field that can change the weights."""
        return hashlib.sha256(json.dumps(self.decisive(), sort_keys=True).encode()).hexdigest()

    def decisive(self) -> dict[str, Any]:
        """The fields that can change the weights, as plain flat data (``lora.rank``)."""
        return {
            key: value
            for key, value in flat(self.model_dump(mode="json")).items()
            if key not in WITHOUT_EFFECT_ON_WEIGHTS
        }


class TrainConfig(OptimizationConfig):
    """Supervised fine-tuning of a planner on weighted samples."""

    base: str = Field(default="tiny", description="'tiny', 'smollm2', a Hugging Face id, or a folder with a model")
    base_dtype: Literal["float32", "bfloat16"] = Field(default="float32", description="number format of the base model")
    tiny: TinyConfig = Field(default_factory=TinyConfig, description="shape of the base 'tiny'; unused by others")
    method: Literal["lora", "full"] = Field(default="lora", description="train an adapter, or every weight")
    lora: LoraShape = Field(default_factory=LoraShape, description="shape of the adapter; unused by method 'full'")
    max_length: int = Field(default=2048, ge=2, description="longest sample, tokens of prompt and completion together")
    overlong: Literal["error", "drop", "truncate_left"] = Field(
        default="error", description="what to do with a longer sample: refuse, leave it out, or cut its prompt's start"
    )
    packing: Literal["tree", "rows", "none"] = Field(
        default="tree",
        description="tree: what the samples of an episode share is computed once; rows: several samples to a forward "
        "pass; none: one. The loss is the same",
    )
    exchanged_copies: int = Field(
        default=0,
        ge=0,
        description="train also on so many copies of each episode in which the kinds of objects, furniture and rooms "
        "have exchanged their names; one epoch then sees every copy once",
    )
    prompt_loss_weight: float = Field(
        default=0.0,
        ge=0,
        description="weight of predicting the prompts, too; what the prompts of an episode share counts once",
    )


def partnr_paper() -> TrainConfig:
    """PARTNR's own figures (arXiv 2411.00081): Llama-3-8B, rank 132, 40k steps on four processes with batch 2."""
    return TrainConfig(
        base="meta-llama/Meta-Llama-3-8B",
        base_dtype="bfloat16",
        precision="bf16",
        lora=LoraShape(rank=132),
        batch_size=8,
        max_steps=40_000,
        checkpoint_every=1000,
        eval_every=1000,
        max_length=8192,
        pack_tokens=8192,
        gradient_checkpointing=True,
    )


def flat(data: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested plain data as one level: ``{"a": {"b": 1}}`` becomes ``{"a.b": 1}``."""
    level: dict[str, Any] = {}
    for key, value in data.items():
        if isinstance(value, dict):
            level.update(flat(value, f"{prefix}{key}."))
        else:
            level[f"{prefix}{key}"] = value
    return level
