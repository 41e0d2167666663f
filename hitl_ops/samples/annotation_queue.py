"""Which plays to look at first: where a correction would teach most.

A decision of the partner's policy is worth a look where the policy was in doubt, or where a failure followed:

- doubt ``u`` is one minus the probability the policy gave its own choice among the admissible actions; unknown where
  the policy logged none;
- nearness to failure ``n`` is ``1 / (1 + d)``, ``d`` being the number of the policy's decisions from this one to the
  next failure, up to ``look_back``; failures are actions the world refused, actions a person broke off to decide
  otherwise, and the end of a play that left something undone.

``look = (uncertainty · u + failure · n) / (uncertainty + failure)``, without the first term where doubt is unknown.
What a play promises is the mean of its best looks (``most_looks`` of them) and of what it left undone, weighted
``uncertainty + failure`` to ``failed_play``. What a person already corrected in the play is not asked for again.
"""

from __future__ import annotations

import math
import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from hitl_ops.contracts.config import StrictConfig
from hitl_ops.contracts.decision import Decision
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.progress import Progress, silent
from hitl_ops.contracts.publish import publish_json
from hitl_ops.records.traces import Trace, read_trace
from hitl_ops.rollouts.partner_decisions import OVERRIDDEN, OVERRIDE
from hitl_ops.rollouts.person_decisions import INTERRUPTED
from hitl_ops.worlds.household.tools import SUCCESS

if TYPE_CHECKING:
    from hitl_ops.samples.collected_plays import CollectedPlay, PlayManifest

QUEUE_FILE = "annotation_queue.json"
DONE = "Done[]"


class QueueConfig(StrictConfig):
    """What makes a play worth a look."""

    uncertainty: float = Field(default=1.0, ge=0, description="weight of the policy's doubt")
    failure: float = Field(default=1.0, ge=0, description="weight of nearness to a failure")
    failed_play: float = Field(default=1.0, ge=0, description="weight of what a play left undone")
    look_back: int = Field(default=3, ge=0, description="the policy's decisions before a failure that share the blame")
    most_looks: int = Field(default=8, ge=1, description="decisions of a play that are pointed out, and averaged over")
    least_look: float = Field(default=0.25, ge=0, le=1, description="below this a decision is not pointed out")

    @model_validator(mode="after")
    def _weighs_something(self) -> Self:
        if self.uncertainty + self.failure + self.failed_play == 0:
            raise ValueError("one of uncertainty, failure and failed_play must be above 0")
        return self


class QueuedPlay(BaseModel):
    """A play and why it is worth a look."""

    model_config = ConfigDict(extra="forbid")

    play_id: str
    session_id: str
    episode_id: str
    success: bool
    percent_complete: float
    value: float = Field(ge=0, le=1, description="what a look promises")
    reasons: list[str] = Field(description="why, in words")
    decisions_worth_a_look: list[int] = Field(description="indices, most promising first")


class _Queue(BaseModel):
    """The file."""

    model_config = ConfigDict(extra="forbid")

    format: Literal["flywheel-queue-1"] = "flywheel-queue-1"
    plays_hash: str = Field(description="hash of the list of plays that was ordered")
    config: QueueConfig
    plays: list[QueuedPlay]


class _Look(NamedTuple):
    """What looking at a decision promises."""

    decision: Decision
    value: float
    doubt: float | None


def rank_plays(
    manifest: PlayManifest, sessions: Path, config: QueueConfig, progress: Progress = silent
) -> list[QueuedPlay]:
    """Order an iteration's plays by what correcting them promises; published as ``annotation_queue.json``.

    Args:
        manifest: the iteration's plays.
        sessions: the iteration's sessions folder, which holds their traces.
        config: what makes a play worth a look.
        progress: told after each play.

    Returns:
        All plays, most promising first; of equal ones those that finished first.

    Raises:
        UserError: a trace is missing or damaged, or the disk is full.
    """
    ranked: list[tuple[float, int, QueuedPlay]] = []
    for play in manifest.plays:
        queued = _queued(play, read_trace(play.trace(sessions)), config)
        ranked.append((-queued.value, play.finish_id, queued))
        progress(len(ranked), len(manifest.plays), "plays looked at")
    plays = [queued for _, _, queued in sorted(ranked, key=lambda one: one[:2])]
    publish_json(sessions / QUEUE_FILE, _Queue(plays_hash=manifest.hash, config=config, plays=plays))
    return plays


def read_annotation_queue(sessions: Path) -> list[QueuedPlay]:
    """The queue, most promising first.

    Raises:
        UserError: it is missing or not what it should be.
    """
    file = sessions / QUEUE_FILE
    try:
        return _Queue.model_validate_json(file.read_bytes()).plays
    except FileNotFoundError:
        raise UserError(f"'{file}' does not exist", "materialise annotation_queue first") from None
    except (OSError, ValidationError) as error:
        raise UserError(
            f"'{file}' is corrupt ({' '.join(str(error).split())[:200]})", "materialise annotation_queue again"
        ) from None


def judged_decisions(manifest: PlayManifest, sessions: Path) -> dict[str, list[int]]:
    """Play id → indices of the decisions the partner's policy made: what annotators judge.

    Raises:
        UserError: a trace is missing or damaged.
    """
    return {
        play.play_id: [decision.index for decision in policy_decisions(read_trace(play.trace(sessions)).decisions)]
        for play in manifest.plays
    }


def policy_decisions(decisions: list[Decision]) -> list[Decision]:
    """Those a policy made: not the person's own, and not what a person decided for the partner."""
    return [decision for decision in decisions if decision.role == "ai" and not decision.stats.get(OVERRIDE)]


def doubt_of(decision: Decision) -> float | None:
    """One minus the probability the policy gave its own choice among the admissible actions; None where unknown."""
    logprob = decision.stats.get("logprob")
    if logprob is None or math.isnan(logprob):
        return None
    return min(1.0, max(0.0, 1.0 - math.exp(logprob)))


def has_failed(decision: Decision) -> bool:
    """Whether the world refused an action, or a person broke it off to decide otherwise.

    What was under way when the play ended has not failed.
    """
    ended_well = decision.response in ("", INTERRUPTED) or decision.response.startswith(SUCCESS)
    return decision.action != DONE and not ended_well


def _queued(play: CollectedPlay, trace: Trace, config: QueueConfig) -> QueuedPlay:
    made = policy_decisions(trace.decisions)
    looks = sorted(_looks(made, play.success, config), key=lambda look: (-look.value, look.decision.index))
    best = looks[: config.most_looks]
    undone = 0.0 if play.success else 1.0 - play.percent_complete
    inside = config.uncertainty + config.failure
    promised = statistics.fmean(look.value for look in best) if best else 0.0
    return QueuedPlay(
        play_id=play.play_id,
        session_id=play.session_id,
        episode_id=play.episode_id,
        success=play.success,
        percent_complete=play.percent_complete,
        value=(inside * promised + config.failed_play * undone) / (inside + config.failed_play),
        reasons=_reasons(play, made, looks),
        decisions_worth_a_look=[look.decision.index for look in best if look.value >= config.least_look],
    )


def _looks(made: list[Decision], success: bool, config: QueueConfig) -> list[_Look]:
    failures = [place for place, decision in enumerate(made) if has_failed(decision)]
    if not success and made:
        failures.append(len(made) - 1)
    looks = []
    for place, decision in enumerate(made):
        if decision.response == OVERRIDDEN:
            continue
        distances = [failure - place for failure in failures if 0 <= failure - place <= config.look_back]
        nearness = 1 / (1 + min(distances)) if distances else 0.0
        doubt = doubt_of(decision)
        parts = (
            [(config.failure, nearness)] if doubt is None else [(config.failure, nearness), (config.uncertainty, doubt)]
        )
        weight = sum(part[0] for part in parts)
        looks.append(_Look(decision, sum(w * part for w, part in parts) / weight if weight else 0.0, doubt))
    return looks


def _reasons(play: CollectedPlay, made: list[Decision], looks: list[_Look]) -> list[str]:
    reasons = []
    if not play.success:
        reasons.append(f"the task was not finished ({play.percent_complete:.0%} complete)")
    broken_off = sum(decision.response == OVERRIDDEN for decision in made)
    refused = sum(has_failed(decision) for decision in made) - broken_off
    if refused:
        reasons.append(f"{_counted(refused, 'action')} of the partner failed")
    if broken_off:
        reasons.append(f"the person broke off {_counted(broken_off, 'action')} of the partner")
    doubtful = max((look for look in looks if look.doubt is not None), key=lambda look: look.doubt or 0.0, default=None)
    if doubtful is not None and doubtful.doubt is not None and doubtful.doubt >= 0.25:
        reasons.append(f"the policy gave {doubtful.decision.action} {1 - doubtful.doubt:.0%}")
    if play.reported:
        reasons.append("a problem was reported")
    return reasons


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
