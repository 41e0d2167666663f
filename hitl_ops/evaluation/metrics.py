"""One episode, scored from its trace: success, percent complete, steps, replans, decisions and their latency."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from hitl_ops.contracts.decision import Role
from hitl_ops.contracts.progress import Progress, silent
from hitl_ops.records.traces import Trace, list_traces, read_trace

MISSING = "missing"
POLICY_ROLES: tuple[Role, ...] = ("ai",)
# A success that comes with less than this complete contradicts itself and is not believed.
_COMPLETE = 0.99


class EpisodeScore(BaseModel):
    """How one policy did in one episode."""

    model_config = ConfigDict(extra="forbid")

    episode_id: str
    task_type: str
    split: str
    scene_id: str
    instruction: str = ""
    success: bool = Field(description="the task was complete at the end; never true after an error or without a trace")
    percent_complete: float = Field(ge=0, le=1)
    sim_steps: int | None = Field(description="simulation steps the episode took; None where it was not played")
    replans: dict[int, int] = Field(default_factory=dict, description="decisions per agent")
    decisions: int = Field(default=0, ge=0, description="decisions of the policy scored")
    latency_ms: list[float] = Field(default_factory=list, description="wall time of each of those decisions")
    runtime_s: float = Field(default=0.0, ge=0)
    ended_by: str = Field(description="why the episode ended; 'missing' where there is no trace")
    explanation: str = Field(default="", description="what was missing, in words")
    policy_id: str = Field(default="", description="who made the decisions scored; '' where there is no trace")

    @property
    def played(self) -> bool:
        """Whether there is a trace at all."""
        return self.ended_by != MISSING


class LatencyQuantiles(BaseModel):
    """Wall time per decision, milliseconds."""

    mean: float
    p50: float
    p95: float
    decisions: int

    @classmethod
    def of(cls, scores: Sequence[EpisodeScore]) -> LatencyQuantiles | None:
        """Pool the decisions of ``scores``; None when there is no decision."""
        pooled = np.asarray([value for score in scores for value in score.latency_ms], dtype=np.float64)
        if pooled.size == 0:
            return None
        p50, p95 = np.quantile(pooled, [0.5, 0.95])
        return cls(mean=float(pooled.mean()), p50=float(p50), p95=float(p95), decisions=int(pooled.size))


def score_trace(trace: Trace, roles: Collection[Role] = POLICY_ROLES) -> EpisodeScore:
    """Score one episode.

    An episode ended by an error is a failure, whatever its result line says; so is a success that contradicts its
    own percent complete.

    Args:
        trace: the episode as it was played.
        roles: whose decisions and latencies are counted.
    """
    result = trace.result
    counted = [decision for decision in trace.decisions if decision.role in roles]
    header = trace.header
    policies = {header.policies.get(agent, "") for agent, role in header.roles.items() if role in roles}
    return EpisodeScore(
        episode_id=trace.header.episode_id,
        task_type=trace.header.task_type,
        split=trace.header.split,
        scene_id=trace.header.scene_id,
        instruction=trace.header.instruction,
        success=result.success and result.percent_complete > _COMPLETE and result.ended_by != "error",
        percent_complete=result.percent_complete,
        sim_steps=result.sim_steps,
        replans=result.replans,
        decisions=len(counted),
        latency_ms=[decision.latency_ms for decision in counted],
        runtime_s=result.runtime_s,
        ended_by=result.ended_by,
        explanation=result.explanation,
        policy_id="+".join(sorted(policies)),
    )


def missing_score(like: EpisodeScore) -> EpisodeScore:
    """The score of an episode that should have been played and was not: a failure with nothing done."""
    return EpisodeScore(
        episode_id=like.episode_id,
        task_type=like.task_type,
        split=like.split,
        scene_id=like.scene_id,
        instruction=like.instruction,
        success=False,
        percent_complete=0.0,
        sim_steps=None,
        ended_by=MISSING,
        explanation="there is no trace of this episode",
    )


def score_folder(
    folder: Path, roles: Collection[Role] = POLICY_ROLES, progress: Progress = silent
) -> Iterator[EpisodeScore]:
    """Score every trace of a folder, in the order of the episode ids; one trace is in memory at a time.

    Raises:
        UserError: the folder does not exist, or a trace in it is corrupt or unfinished.
    """
    files = list_traces(folder)
    for position, file in enumerate(files, start=1):
        yield score_trace(read_trace(file), roles)
        progress(position, len(files), file.name)
