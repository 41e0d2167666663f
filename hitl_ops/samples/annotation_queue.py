"""Which plays to look at first: where a correction would teach most."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, Field

from hitl_ops.contracts.config import StrictConfig
from hitl_ops.contracts.progress import Progress, silent

if TYPE_CHECKING:
    from hitl_ops.samples.collected_plays import PlayManifest

QUEUE_FILE = "annotation_queue.json"


class QueueConfig(StrictConfig):
    """What makes a play worth a look."""

    uncertainty: float = Field(default=1.0, ge=0, description="weight of the policy's doubt")
    failure: float = Field(default=1.0, ge=0, description="weight of nearness to a failed action")
    failed_play: float = Field(default=1.0, ge=0, description="weight of what the play left undone")
    look_back: int = Field(default=3, ge=0, description="decisions before a failed one that share the blame")
    most_looks: int = Field(default=8, ge=1, description="decisions of a play that are pointed out")


class QueuedPlay(BaseModel):
    """A play and why it is worth a look."""

    play_id: str
    session_id: str
    episode_id: str
    success: bool
    percent_complete: float
    value: float = Field(ge=0, le=1, description="what a look promises")
    reasons: list[str] = Field(description="why, most weighty first")
    decisions_worth_a_look: list[int] = Field(description="indices, most promising first")


def rank_plays(
    manifest: PlayManifest, sessions: Path, config: QueueConfig, progress: Progress = silent
) -> list[QueuedPlay]:
    """Order an iteration's plays by what correcting them promises; published as ``annotation_queue.json``.

    Raises:
        UserError: a trace is missing or damaged, or the disk is full.
    """
    raise NotImplementedError


def read_annotation_queue(sessions: Path) -> list[QueuedPlay]:
    """The queue, most promising first.

    Raises:
        UserError: it is missing or not what it should be.
    """
    raise NotImplementedError


def judged_decisions(manifest: PlayManifest, sessions: Path) -> dict[str, list[int]]:
    """Play id → indices of the decisions the partner's policy made: what annotators judge.

    Raises:
        UserError: a trace is missing or damaged.
    """
    raise NotImplementedError
