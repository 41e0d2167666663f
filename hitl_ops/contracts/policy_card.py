"""The card beside every set of weights: what made them, and the id derived from that."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class PolicyCard(BaseModel):
    """Everything that determines a set of weights.

    Two trainings with the same inputs have the same ``policy_id``; change one sample, one config value
    or the code version, and the id changes.
    """

    model_config = ConfigDict(extra="forbid")

    program: str
    iteration: int = Field(ge=0)
    parent: str = Field(description="policy id or base model the training started from")
    samples_hash: str = Field(description="hash over the training samples' manifest")
    sample_counts: dict[str, int] = Field(default_factory=dict, description="samples by source")
    config: dict[str, Any]
    prompt_style: str = Field(
        default="incremental", description="prompt dialect the policy was trained on, or the prompt it is asked with"
    )
    metrics: dict[str, float] = Field(default_factory=dict)
    code_version: str = ""

    @property
    def policy_id(self) -> str:
        """``<program>-<iteration>-<10 hex digits>``, derived from what made the weights (not from metrics)."""
        made_from = self.model_dump(exclude={"metrics"})
        digest = hashlib.sha256(json.dumps(made_from, sort_keys=True, default=str).encode()).hexdigest()
        return f"{self.program}-{self.iteration:03d}-{digest[:10]}"
