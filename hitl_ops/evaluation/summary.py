"""What an evaluation says: the figures of each policy, whole and in parts, and how two policies compare."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel, Field

from hitl_ops.contracts.config import StrictConfig
from hitl_ops.contracts.decision import Role
from hitl_ops.contracts.errors import UserError
from hitl_ops.evaluation.intervals import (
    Interval,
    McNemar,
    PairedDifference,
    Ratio,
    bootstrap_interval,
    mcnemar,
    paired_difference,
    paired_ratio,
    wilson_interval,
)
from hitl_ops.evaluation.metrics import POLICY_ROLES, EpisodeScore, LatencyQuantiles

FORMAT = "flywheel-evaluation-1"
_OTHER_KEYS = (
    "format",
    "primary_split",
    "reference",
    "policy_ids",
    "episode_sets",
    "comparisons",
    "decisions_latency_ms",
    "videos",
    "config",
)


class EvaluationConfig(StrictConfig):
    """How policies are scored and compared."""

    primary_split: str = Field(default="val", description="the split whose figures carry the plain keys")
    reference: str = Field(default="teacher", description="the policy all others are compared with, where present")
    roles: tuple[Role, ...] = Field(
        default=POLICY_ROLES, min_length=1, description="whose decisions and latencies count as the policy's"
    )
    resamples: int = Field(default=10_000, ge=100, description="bootstrap resamples")
    level: float = Field(default=0.95, gt=0, lt=1, description="level of the intervals")
    seed: int = Field(default=0, ge=0, description="seed of the resampling")
    cluster_by: Literal["episode", "home"] = Field(
        default="episode", description="what is resampled: single episodes, or homes with all their episodes"
    )

    def clusters(self, scores: Sequence[EpisodeScore]) -> list[str]:
        """The cluster of each score."""
        return [score.episode_id if self.cluster_by == "episode" else score.scene_id for score in scores]

    def resampling(self, scores: Sequence[EpisodeScore]) -> dict[str, Any]:
        """Keyword arguments for the interval functions."""
        return {
            "clusters": self.clusters(scores),
            "resamples": self.resamples,
            "level": self.level,
            "seed": self.seed,
        }


class GroupScores(BaseModel):
    """The figures of one policy over some episodes."""

    episodes: int
    homes: int
    success: Interval
    success_wilson: tuple[float, float] = Field(
        description="Wilson's interval, which keeps its width where all episodes succeed or all fail"
    )
    percent_complete: Interval
    sim_steps: Interval | None = Field(description="over the episodes played, failures included")
    sim_steps_when_successful: float | None
    decisions: Interval = Field(description="decisions of the policy per episode")
    replans: dict[str, float] = Field(description="mean decisions per episode, by agent")
    latency_ms: LatencyQuantiles | None
    ended_by: dict[str, int] = Field(description="episodes by why they ended")
    runtime_s: float = Field(description="wall time of all episodes together")

    @classmethod
    def of(cls, scores: Sequence[EpisodeScore], config: EvaluationConfig) -> GroupScores:
        """Summarise at least one score."""
        how = config.resampling(scores)
        played = [score for score in scores if score.sim_steps is not None]
        succeeded = [score.sim_steps for score in played if score.success and score.sim_steps is not None]
        agents = sorted({agent for score in scores for agent in score.replans})
        return cls(
            episodes=len(scores),
            homes=len({score.scene_id for score in scores}),
            success=bootstrap_interval([score.success for score in scores], **how),
            success_wilson=wilson_interval(sum(score.success for score in scores), len(scores), config.level),
            percent_complete=bootstrap_interval([score.percent_complete for score in scores], **how),
            sim_steps=bootstrap_interval([float(score.sim_steps or 0) for score in played], **config.resampling(played))
            if played
            else None,
            sim_steps_when_successful=sum(succeeded) / len(succeeded) if succeeded else None,
            decisions=bootstrap_interval([score.decisions for score in scores], **how),
            replans={
                str(agent): sum(score.replans.get(agent, 0) for score in scores) / len(scores) for agent in agents
            },
            latency_ms=LatencyQuantiles.of(scores),
            ended_by=dict(sorted(Counter(score.ended_by for score in scores).items())),
            runtime_s=sum(score.runtime_s for score in scores),
        )


class SplitScores(GroupScores):
    """The figures of one policy on one split, with its task types."""

    by_task_type: dict[str, GroupScores]

    @classmethod
    def of(cls, scores: Sequence[EpisodeScore], config: EvaluationConfig) -> SplitScores:
        """Summarise at least one score."""
        kinds = sorted({score.task_type for score in scores})
        return cls(
            **GroupScores.of(scores, config).model_dump(),
            by_task_type={
                kind: GroupScores.of([score for score in scores if score.task_type == kind], config) for kind in kinds
            },
        )


class Comparison(BaseModel):
    """One policy against the reference, on the same episodes."""

    policy: str
    reference: str
    split: str
    episodes: int
    success_ratio: Ratio
    success: PairedDifference
    percent_complete: PairedDifference
    sim_steps: PairedDifference | None = Field(description="over the episodes both played")
    mcnemar: McNemar
    speed_up: float | None = Field(description="reference's median latency per decision over the policy's")

    @classmethod
    def of(
        cls,
        names: tuple[str, str],
        split: str,
        pairs: Sequence[tuple[EpisodeScore, EpisodeScore]],
        config: EvaluationConfig,
    ) -> Comparison:
        """Compare ``(policy, reference)`` pairs of the same episodes, at least one."""
        ours, theirs = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        how = config.resampling(ours)
        played = [pair for pair in pairs if pair[0].sim_steps is not None and pair[1].sim_steps is not None]
        latency, reference_latency = LatencyQuantiles.of(ours), LatencyQuantiles.of(theirs)
        success, reference_success = [score.success for score in ours], [score.success for score in theirs]
        return cls(
            policy=names[0],
            reference=names[1],
            split=split,
            episodes=len(pairs),
            success_ratio=paired_ratio(success, reference_success, **how),
            success=paired_difference(success, reference_success, **how),
            percent_complete=paired_difference(
                [score.percent_complete for score in ours], [score.percent_complete for score in theirs], **how
            ),
            sim_steps=paired_difference(
                [float(pair[0].sim_steps or 0) for pair in played],
                [float(pair[1].sim_steps or 0) for pair in played],
                **config.resampling([pair[0] for pair in played]),
            )
            if played
            else None,
            mcnemar=mcnemar(success, reference_success),
            speed_up=reference_latency.p50 / latency.p50 if latency and reference_latency and latency.p50 > 0 else None,
        )


class VideoPicks(BaseModel):
    """Episode ids worth watching."""

    best: str
    median: str
    worst: str


class EvaluationSummary(BaseModel):
    """Everything an evaluation found."""

    primary_split: str
    reference: str | None = Field(description="the policy the others are compared with; None where it was not played")
    policies: dict[str, dict[str, SplitScores]] = Field(description="policy → split → figures")
    comparisons: dict[str, dict[str, Comparison]] = Field(
        description="'<policy>_over_<reference>' → split → comparison"
    )
    videos: dict[str, VideoPicks] = Field(description="policy → episodes of the primary split worth watching")
    config: EvaluationConfig
    policy_ids: dict[str, str] = Field(
        default_factory=dict, description="policy → its id, where one and the same played every episode there is of it"
    )
    episode_sets: dict[str, str] = Field(
        default_factory=dict, description="split → sha256 over the episodes that were to be played, where told"
    )

    def primary(self, policy: str) -> SplitScores:
        """The figures of ``policy`` on the primary split."""
        return self.policies[policy][self.primary_split]

    def figures(self) -> dict[str, Any]:
        """The flat keys: ``student.success``, ``student.success_low``, ``student_over_teacher`` and so on.

        Plain keys speak of the primary split; the same keys with ``_<split>`` appended of each split.
        """
        flat: dict[str, Any] = {}
        for name, splits in self.policies.items():
            for suffix, scores in self._with_suffix(splits):
                flat[f"{name}.episodes{suffix}"] = scores.episodes
                for figure in ("success", "percent_complete", "sim_steps", "decisions"):
                    interval: Interval | None = getattr(scores, figure)
                    flat[f"{name}.{figure}{suffix}"] = interval.mean if interval else None
                    flat[f"{name}.{figure}_low{suffix}"] = interval.low if interval else None
                    flat[f"{name}.{figure}_high{suffix}"] = interval.high if interval else None
        for key, comparisons in self.comparisons.items():
            for suffix, comparison in self._with_suffix(comparisons):
                flat[f"{key}{suffix}"] = comparison.success_ratio.value
                flat[f"{key}_low{suffix}"] = comparison.success_ratio.low
                flat[f"{key}_high{suffix}"] = comparison.success_ratio.high
        flat["decisions_latency_ms"] = {
            name: latency.model_dump() if (latency := self.primary(name).latency_ms) else None for name in self.policies
        }
        return flat

    def as_json(self) -> dict[str, Any]:
        """The content of ``summary.json``: the flat keys first, then every section."""
        body = self.model_dump(mode="json")
        return {
            "format": FORMAT,
            **self.figures(),
            "primary_split": self.primary_split,
            "reference": self.reference,
            "policy_ids": self.policy_ids,
            "episode_sets": self.episode_sets,
            **{
                name: {**body["policies"][name][self.primary_split], "by_split": splits}
                for name, splits in body["policies"].items()
            },
            "comparisons": body["comparisons"],
            "videos": body["videos"],
            "config": body["config"],
        }

    @classmethod
    def from_json(cls, body: dict[str, Any]) -> EvaluationSummary:
        """The inverse of :meth:`as_json`.

        Raises:
            pydantic.ValidationError: the body is no evaluation summary.
            KeyError: a section is missing.
        """
        names = list(body["decisions_latency_ms"])
        return cls(
            primary_split=body["primary_split"],
            reference=body["reference"],
            policies={name: body[name]["by_split"] for name in names},
            comparisons=body["comparisons"],
            videos=body["videos"],
            config=body["config"],
            policy_ids=body.get("policy_ids", {}),
            episode_sets=body.get("episode_sets", {}),
        )

    def _with_suffix(self, splits: dict[str, Any]) -> list[tuple[str, Any]]:
        plain = [("", splits[self.primary_split])] if self.primary_split in splits else []
        return plain + [(f"_{split}", value) for split, value in splits.items()]


def check_policy_names(names: Sequence[str]) -> None:
    """Refuse policy names that would be mistaken for another key of the summary.

    Raises:
        UserError: there is no name, or one cannot be a key.
    """
    if not names:
        raise UserError("no policy to evaluate", "name at least one folder of traces")
    for name in names:
        if not name.isidentifier() or name in _OTHER_KEYS:
            raise UserError(f"policy name '{name}' cannot be a key of the summary", "use letters, digits and '_'")
