"""One training set out of all iterations so far, every sample weighted by where it comes from."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from hitl_ops.contracts.config import StrictConfig
from hitl_ops.contracts.progress import Progress, silent
from hitl_ops.contracts.store import Store

MIX_NAME = "training_mix"
MixSource = Literal["distilled", "human_gold", "expert"]


class MixConfig(StrictConfig):
    """What a training set is made of."""

    expert: float = Field(default=5.0, ge=0, description="weight of a sample out of a correction; 0 leaves them out")
    human_gold: float = Field(default=1.0, ge=0, description="weight of a sample out of a play; 0 leaves them out")
    distilled: float = Field(default=0.5, ge=0, description="weight of a sample of the teacher; 0 leaves them out")
    sources: tuple[MixSource, ...] = Field(
        default=("distilled", "human_gold", "expert"), min_length=1, description="which files are read at all"
    )
    refused_iterations: Literal["leave_out", "keep"] = Field(
        default="leave_out",
        description="people's samples of earlier iterations whose policy the gate refused: they may be why",
    )

    def weight_of(self, source: MixSource) -> float:
        """What a sample of this source counts."""
        return {"expert": self.expert, "human_gold": self.human_gold, "distilled": self.distilled}[source]


class MixSummary(BaseModel):
    """What a training set is made of."""

    samples: int = 0
    episodes: int = 0
    by_source: dict[str, int] = Field(default_factory=dict)
    weight_by_source: dict[str, float] = Field(default_factory=dict, description="sum of the weights")
    by_iteration: dict[str, dict[str, int]] = Field(
        default_factory=dict, description="iteration key → source → samples taken"
    )
    inputs: dict[str, str] = Field(
        default_factory=dict, description="<iteration key>/<source> → the manifest hash of the file read"
    )
    dropped: dict[str, int] = Field(default_factory=dict, description="samples left out, by reason")
    refused: list[str] = Field(default_factory=list, description="keys of iterations left out because of the gate")
    prompt_style: str = ""
    manifest_hash: str = ""


def build_training_mix(
    store: Store, program: str, iteration: int, config: MixConfig, progress: Progress = silent
) -> MixSummary:
    """Join the samples of iterations 0 to ``iteration`` in ``<iteration>/samples/training_mix.parquet``.

    Raises:
        UserError: there is no sample, files were recorded in different dialects, or a file is corrupt.
    """
    raise NotImplementedError
