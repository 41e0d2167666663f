"""The gate: a candidate may serve if it is not worse than what serves, on the same episodes.

Both policies' scores of one split are compared episode by episode. Chance is told from loss by the paired bootstrap:
the candidate passes if, in at least ``confidence`` of the resamples, it lost no more than ``margin``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hitl_ops.contracts.config import StrictConfig
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.publish import TEMPORARY_MARK, publish_bytes, publish_json
from hitl_ops.evaluation.evaluate import read_evaluation
from hitl_ops.evaluation.intervals import PairedDifference, paired_difference, share_at_least
from hitl_ops.evaluation.metrics import EpisodeScore
from hitl_ops.evaluation.summary import EvaluationSummary

GATE_FILE = "gate.json"
GATE_PLOT = "gate.png"


class GateConfig(StrictConfig):
    """When a candidate may serve."""

    split: str = Field(default="val", description="the episodes both are compared on")
    figure: Literal["success", "percent_complete"] = Field(
        default="success", description="what is compared: tasks done, or how far they got"
    )
    margin: float = Field(
        default=0.0, ge=0, le=1, description="what the candidate may lose: 0.02 lets success fall by two points"
    )
    confidence: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="share of the resamples in which it must not lose more; 0.5 stops what is probably worse, 0.95 "
        "lets through only what is surely not",
    )
    resamples: int = Field(default=10_000, ge=100, description="bootstrap resamples")
    level: float = Field(default=0.95, gt=0, lt=1, description="level of the interval that is shown")
    seed: int = Field(default=0, ge=0, description="seed of the resampling")
    cluster_by: Literal["episode", "home"] = Field(
        default="episode", description="what is resampled: single episodes, or homes with all their episodes"
    )


class GateVerdict(BaseModel):
    """What the gate said, and why."""

    model_config = ConfigDict(extra="forbid")

    promote: bool = Field(description="the candidate may serve")
    reason: str = Field(description="why, in one line")
    candidate: str = Field(description="policy id of the candidate")
    serving: str | None = Field(
        description="policy id of what it was compared with: what served, or what the first to serve started from"
    )
    episodes: int = Field(ge=0, description="episodes compared")
    candidate_mean: float = Field(description="the candidate's mean of the figure on those episodes")
    serving_mean: float | None = Field(description="the serving policy's")
    difference: PairedDifference | None = Field(description="candidate minus serving")
    probability_not_worse: float | None = Field(description="share of the resamples that lost no more than the margin")
    config: GateConfig


@dataclass(frozen=True)
class EvaluatedPolicy:
    """A policy and the evaluation that says how good it is.

    Attributes:
        policy_id: as on its card.
        summary: the evaluation's summary.
        scores: episode id → score, of every split played.
    """

    policy_id: str
    summary: EvaluationSummary
    scores: dict[str, EpisodeScore]


def evaluated_policy(folder: Path, policy_id: str) -> EvaluatedPolicy:
    """Find a policy in a finished evaluation.

    Args:
        folder: where :func:`~hitl_ops.evaluation.evaluate.summarise` wrote.
        policy_id: whose scores.

    Raises:
        UserError: there is no finished evaluation in the folder, it is corrupt, or it is of other policies.
    """
    summary, scores = read_evaluation(folder)
    for name, found in summary.policy_ids.items():
        # A kill between its two files leaves new scores beside an old summary.
        if found == policy_id and all(score.policy_id == policy_id for score in scores[name].values() if score.played):
            return EvaluatedPolicy(policy_id, summary, scores[name])
    scored = ", ".join(sorted(summary.policy_ids.values())) or "policies it does not name"
    raise UserError(
        f"policy '{policy_id}' has not been evaluated: '{folder}' is about {scored}",
        "evaluate it first: materialise the evaluation of its iteration, or use flywheel evaluate",
    )


def gate(candidate: EvaluatedPolicy, serving: EvaluatedPolicy | None, config: GateConfig) -> GateVerdict:
    """Decide whether a candidate may serve.

    An episode the candidate left no trace of counts as failed; one that the serving policy left no trace of is left
    out.

    Args:
        candidate: who wants to serve.
        serving: who serves; None where nobody does, and then the candidate may.
        config: split, figure, margin, confidence, resampling.

    Raises:
        UserError: the candidate did not play the split, or the two played different episodes.
    """
    ours = _of_split(candidate, config.split)
    if serving is None or serving.policy_id == candidate.policy_id:
        mean = _mean([_figure(score, config) for score in ours.values()])
        why = "nothing serves yet" if serving is None else f"{candidate.policy_id} serves already"
        return GateVerdict(
            promote=True,
            reason=f"{why}: {_percent(mean)} {_words(config)} on {len(ours)} episodes of '{config.split}'",
            candidate=candidate.policy_id,
            serving=None if serving is None else serving.policy_id,
            episodes=len(ours),
            candidate_mean=mean,
            serving_mean=None if serving is None else mean,
            difference=None,
            probability_not_worse=None,
            config=config,
        )
    theirs = _of_split(serving, config.split)
    _need_same_episodes(candidate, serving, ours, theirs, config.split)
    pairs = [(ours[name], theirs[name]) for name in sorted(theirs) if theirs[name].played]
    if not pairs:
        raise UserError(f"'{serving.policy_id}' played no episode of '{config.split}'", "evaluate it again")
    a = [_figure(pair[0], config) for pair in pairs]
    b = [_figure(pair[1], config) for pair in pairs]
    clusters = [pair[1].episode_id if config.cluster_by == "episode" else pair[1].scene_id for pair in pairs]
    difference = paired_difference(
        a, b, clusters=clusters, resamples=config.resamples, level=config.level, seed=config.seed
    )
    probability = share_at_least(a, b, -config.margin, clusters=clusters, resamples=config.resamples, seed=config.seed)
    passes = probability >= config.confidence
    return GateVerdict(
        promote=passes,
        reason=_reason(passes, difference, probability, (_mean(a), _mean(b)), config),
        candidate=candidate.policy_id,
        serving=serving.policy_id,
        episodes=len(pairs),
        candidate_mean=_mean(a),
        serving_mean=_mean(b),
        difference=difference,
        probability_not_worse=probability,
        config=config,
    )


def write_gate(folder: Path, verdict: GateVerdict) -> Path:
    """Publish a verdict as ``gate.json`` and ``gate.png`` in the candidate's evaluation folder; returns the former.

    Raises:
        UserError: the disk is full.
    """
    from hitl_ops.evaluation.plots import gate_verdict

    for left in folder.glob(f"gate.*{TEMPORARY_MARK}*"):
        left.unlink(missing_ok=True)  # of somebody who was killed here
    # The picture first: where there is a verdict, there is its picture.
    publish_bytes(folder / GATE_PLOT, gate_verdict(verdict))
    publish_json(folder / GATE_FILE, verdict)
    return folder / GATE_FILE


def read_gate(folder: Path) -> GateVerdict | None:
    """The verdict in an evaluation folder, None where there is none.

    Raises:
        UserError: it is damaged.
    """
    file = folder / GATE_FILE
    try:
        return GateVerdict.model_validate_json(file.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"gate verdict '{file}' cannot be read", str(error)) from None
    except ValidationError as error:
        raise UserError(
            f"gate verdict '{file}' is damaged ({error.error_count()} invalid fields)", "delete it and judge again"
        ) from None


def _of_split(policy: EvaluatedPolicy, split: str) -> dict[str, EpisodeScore]:
    found = {name: score for name, score in policy.scores.items() if score.split == split}
    if not found:
        played = ", ".join(sorted({score.split for score in policy.scores.values()}))
        raise UserError(
            f"'{policy.policy_id}' was not evaluated on '{split}'", f"evaluate it there, or set gate.split to: {played}"
        )
    return found


def _need_same_episodes(
    candidate: EvaluatedPolicy,
    serving: EvaluatedPolicy,
    ours: dict[str, EpisodeScore],
    theirs: dict[str, EpisodeScore],
    split: str,
) -> None:
    sets = [policy.summary.episode_sets.get(split) for policy in (candidate, serving)]
    tasks = [
        {name: (score.scene_id, score.instruction, score.task_type) for name, score in scores.items()}
        for scores in (ours, theirs)
    ]
    if tasks[0] == tasks[1] and (sets[0] == sets[1] or None in sets):
        return
    common = sum(tasks[1].get(name) == task for name, task in tasks[0].items())
    raise UserError(
        f"'{candidate.policy_id}' and '{serving.policy_id}' were not evaluated on the same episodes of '{split}' "
        f"({len(ours)} and {len(theirs)}, {common} of the same name and task)",
        f"evaluate '{serving.policy_id}' again on today's episodes: materialise the evaluation of its iteration",
    )


def _reason(
    passes: bool, difference: PairedDifference, probability: float, means: tuple[float, float], config: GateConfig
) -> str:
    allowed = f" by more than {_points(config.margin)}" if config.margin else ""
    found = (
        f"{_percent(means[0])} against {_percent(means[1])} {_words(config)} on {difference.n} episodes of "
        f"'{config.split}' ({_points(difference.difference, sign=True)}, {config.level:.0%} interval "
        f"{100 * difference.low:+.1f} to {100 * difference.high:+.1f})"
    )
    chance = f"not worse{allowed} in {probability:.1%} of the resamples, {config.confidence:.1%} asked for"
    return f"{'may serve' if passes else 'may not serve'}: {found}; {chance}"


def _figure(score: EpisodeScore, config: GateConfig) -> float:
    return float(score.success) if config.figure == "success" else score.percent_complete


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _words(config: GateConfig) -> str:
    return config.figure.replace("_", " ")


def _percent(value: float) -> str:
    return f"{value:.1%}"


def _points(value: float, *, sign: bool = False) -> str:
    return f"{100 * value:+.1f} points" if sign else f"{100 * value:.1f} points"
