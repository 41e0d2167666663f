"""How a vision-language agent learns from its games: by imitation, then by preference."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from hitl_ops.contracts.config import StrictConfig
from hitl_ops.records.round_games import RoundPhase
from hitl_ops.training.train_config import OptimizationConfig

_Memory = Annotated[float, Field(ge=0, lt=1)]
_WITHOUT_EFFECT_ON_WEIGHTS = frozenset({"keep_last"})


class AgentTrainConfig(StrictConfig):
    """One phase: behaviour cloning of the expert's answers, or DPO with the better answers' likelihood mixed in."""

    phase: RoundPhase = Field(default="bc", description="bc: imitate the expert; dpo: prefer its answer to one's own")
    batch_size: int = Field(default=8, ge=1, description="rows that go through the model at once")
    accumulation: int = Field(default=4, ge=1, description="batches to one gradient step")
    gradient_steps: int = Field(default=5, ge=1, description="gradient steps after each game")
    draw: Literal["rows", "games"] = Field(
        default="rows",
        description="what a gradient step is taken over; rows: steps of any games; games: all steps of some games, "
        "which run as one sequence where the agent's picture_place is before_reply",
    )
    optimizer: Literal["adamw", "muon"] = Field(
        default="adamw",
        description="muon: Muon for the layers' matrices and AdamW for the rest; for agents from random weights",
    )
    learning_rate: float = Field(default=1e-4, gt=0, description="after the warm-up")
    schedule: Literal["constant", "linear_end"] = Field(
        default="constant",
        description="of the learning rate after the warm-up; linear_end: over the phase's second half down to 0, which "
        "settles with the first game how many there are",
    )
    warmup: int = Field(default=10, ge=0, description="gradient steps over which the learning rate rises linearly")
    weight_decay: float = Field(default=0.0, ge=0, description="AdamW's decay of matrices; vectors are not decayed")
    betas: tuple[_Memory, _Memory] = Field(
        default=(0.9, 0.999), description="AdamW's memory of the gradient and of the squared gradient"
    )
    max_grad_norm: float = Field(default=1.0, ge=0, description="gradients are scaled down to this norm; 0: never")
    prompt_weight: float = Field(
        default=0.0,
        ge=0,
        description="bc: what the prompts' own words count beside the answers, mean against mean; from it an agent of "
        "random weights learns to read",
    )
    dpo_beta: float = Field(default=0.1, gt=0, description="dpo: how dear it is to leave the reference")
    nll_weight: float = Field(
        default=0.5, ge=0, description="dpo: what the better answer's negative log-likelihood per token counts"
    )
    agreements: bool = Field(
        default=False,
        description="dpo: whether answers of the expert that the agent gave as well are learned from too, by their "
        "likelihood alone; an agent that is only shown where it was wrong unlearns what it did right",
    )
    label_smoothing: float = Field(
        default=0.0, ge=0, lt=0.5, description="dpo: how probable it is that the worse answer was the better one"
    )
    seed: int = Field(default=0, ge=0, description="of the rows drawn")
    keep_last: int = Field(default=2, ge=1, description="checkpoints kept on disk")

    @model_validator(mode="after")
    def _agreements_count(self) -> Self:
        if self.agreements and (self.phase != "dpo" or not self.nll_weight):
            raise ValueError("agreements are for phase dpo with an nll_weight above 0")
        return self

    @property
    def rows_per_step(self) -> int:
        """Rows a gradient step is taken over."""
        return self.batch_size * self.accumulation

    @property
    def optimization(self) -> OptimizationConfig:
        """The optimizer's figures."""
        return OptimizationConfig(
            optimizer=self.optimizer,
            learning_rate=self.learning_rate,
            warmup_steps=self.warmup,
            schedule=self.schedule,
            weight_decay=self.weight_decay,
            beta1=self.betas[0],
            beta2=self.betas[1],
            max_grad_norm=self.max_grad_norm,
        )

    def decisive(self) -> dict[str, Any]:
        """The fields that can change the weights, as plain flat data."""
        return {key: v for key, v in self.model_dump(mode="json").items() if key not in _WITHOUT_EFFECT_ON_WEIGHTS}


PAPER_BC = AgentTrainConfig(phase="bc", batch_size=128, accumulation=4)
PAPER_DPO = AgentTrainConfig(phase="dpo", batch_size=4, accumulation=4)
"""Batches and accumulation of EMAC+; the log of its replication mixes in the likelihood with a weight of 0.5: a first
loss of 2.4771 beside rewards of 0 and an NLL of 3.5679 is ln 2 + 0.5 × 3.5679."""

SMALL_BC = AgentTrainConfig(phase="bc", batch_size=8, accumulation=4)
SMALL_DPO = AgentTrainConfig(phase="dpo", batch_size=1, accumulation=4)
"""The same on a small scale."""
