"""Samples out of corrections: what people would have had the policy do, at exactly the prompt it chose from."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, Field

from hitl_ops.contracts.config import StrictConfig
from hitl_ops.contracts.progress import Progress, silent

if TYPE_CHECKING:
    from hitl_ops.labels.opinions import Opinions
    from hitl_ops.samples.collected_plays import PlayManifest

PAIRS_FILE = "preference_pairs.parquet"


class ExpertConfig(StrictConfig):
    """What of people's corrections is taught."""

    weight: float = Field(default=5.0, ge=0, description="weight of every sample")
    pair_weight: float = Field(default=1.0, ge=0, description="weight of every preference pair")
    in_play: bool = Field(
        default=True, description="also teach what people decided for the partner during a play, where it succeeded"
    )
    least_annotators: int = Field(
        default=1, ge=1, description="people who must have chosen the same action for it to be taught"
    )


class LeftOut(BaseModel):
    """A corrected decision that is not taught."""

    play_id: str
    decision: int
    reason: str
    annotators: list[str] = Field(description="who marked it")


class ExpertSummary(BaseModel):
    """What an iteration's corrections gave."""

    samples: int = 0
    pairs: int = Field(default=0, description="preference pairs: corrected beats original")
    corrected: int = Field(default=0, description="decisions that somebody marked")
    in_play: int = Field(default=0, description="samples of what was decided during a play")
    several: int = Field(default=0, description="samples that more than one person chose")
    plays: int = Field(default=0, description="plays that gave a sample")
    reviewed: int = Field(default=0, description="plays that somebody has been through")
    by_annotator: dict[str, int] = Field(default_factory=dict, description="samples by who chose them")
    by_tool: dict[str, int] = Field(default_factory=dict, description="samples by the tool they teach")
    dropped: dict[str, int] = Field(default_factory=dict, description="marked decisions left out, by reason")
    left_out: list[LeftOut] = Field(default_factory=list, description="those, by name")
    seconds: float = Field(default=0.0, description="seconds people spent on the labels")
    weight: float = 0.0
    iteration: int = 0
    prompt_style: str = ""
    opinions_hash: str = Field(default="", description="what people said when the samples were made")
    manifest_hash: str = Field(default="", description="as of every sample file")
    pairs_hash: str = ""


def build_expert_samples(
    manifest: PlayManifest,
    sessions: Path,
    opinions: Opinions,
    config: ExpertConfig,
    out: Path,
    progress: Progress = silent,
    *,
    expected: Collection[str] | None = None,
) -> ExpertSummary:
    """Make a sample of every decision people agree to correct, and publish them as Parquet, with preference pairs.

    Args:
        manifest: the iteration's plays.
        sessions: the iteration's sessions folder, which holds their traces.
        opinions: what people say.
        config: what to take.
        out: the sample file; ``preference_pairs.parquet`` is written beside it.
        progress: told after each play.
        expected: ids of the episodes to teach; None teaches every one.

    Raises:
        UserError: a trace is missing or damaged, the plays' prompts are in different dialects, or the disk is full.
    """
    raise NotImplementedError
