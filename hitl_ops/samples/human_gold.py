"""Samples out of people's plays: of every episode the best successful attempt, whoever made it.

What is taken of a play is decided by role. By default both sides are taken: the person's acts, written as the
decisions a planner would have had to make, and the actions of the policy beside them, for an episode that came out
well is a lesson in both agents' parts, and only one of the two agents can clean, fill and switch on. ``samples.roles``
set to one role takes that side alone. PARTNR's own builder keeps agent 0's decisions, whoever that is, and counts
failures among the best attempts; neither is done here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, Field, field_validator

from hitl_ops.contracts.config import StrictConfig
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.progress import Progress, silent
from hitl_ops.samples.build import SampleConfig, SampleSummary, build_samples

if TYPE_CHECKING:
    # At run time only the configuration below is needed by everyone who reads a preset; this brings a database.
    from hitl_ops.samples.play_scores import PlayScore


class HumanGoldConfig(StrictConfig):
    """What of people's plays is taught."""

    samples: SampleConfig = Field(
        default=SampleConfig(source="human_gold", roles=("human", "ai"), admissible_only=True),
        description="how the chosen plays become samples: roles, weight (1), percent_cut (0.75) and the other filters",
    )
    leave_out_reported: bool = Field(default=True, description="leave out plays somebody reported a problem with")

    @field_validator("samples")
    @classmethod
    def _of_people(cls, samples: SampleConfig) -> SampleConfig:
        if samples.source != "human_gold":
            raise ValueError("source must be human_gold: weights and provenance go by it")
        return samples


class ChosenPlay(BaseModel):
    """The attempt an episode is taught by."""

    episode_id: str
    play_id: str
    participant_id: str
    attempts: int = Field(description="finished plays of the episode")
    successes: int = Field(description="those of them that succeeded")
    steps: int


class HumanGoldSummary(SampleSummary):
    """What people's plays gave."""

    plays: int = Field(default=0, description="plays scored")
    plays_successful: int = 0
    plays_reported: int = Field(default=0, description="successful plays left out because a problem was reported")
    chosen: list[ChosenPlay] = Field(default_factory=list, description="by episode id")


def best_attempts(scores: Sequence[PlayScore], *, leave_out_reported: bool = True) -> list[PlayScore]:
    """Of each episode the best successful play: the most complete, then the shortest, then the first to finish.

    Args:
        scores: plays of any number of people.
        leave_out_reported: pass over plays somebody reported a problem with.

    Returns:
        At most one play an episode, sorted by episode id; none of an episode in which nobody succeeded.
    """
    best: dict[str, PlayScore] = {}
    for score in scores:
        if not score.success or (leave_out_reported and score.reported):
            continue
        before = best.get(score.episode_id)
        if before is None or _rank(score) < _rank(before):
            best[score.episode_id] = score
    return [best[episode_id] for episode_id in sorted(best)]


def _rank(score: PlayScore) -> tuple[float, int, int]:
    return (-score.percent_complete, score.steps, score.finish_id)


def build_human_gold(
    scores: Sequence[PlayScore],
    sessions: Path,
    config: HumanGoldConfig,
    out: Path,
    progress: Progress = silent,
    *,
    expected: Collection[str] | None = None,
) -> HumanGoldSummary:
    """Cut samples out of the best successful attempts and publish them as Parquet.

    Args:
        scores: the iteration's plays.
        sessions: the iteration's sessions folder, which holds their traces.
        config: what to take.
        out: the Parquet file.
        progress: told after each trace.
        expected: ids of the episodes to teach; plays of others are counted and left out. None teaches every one.

    Returns:
        Counts, reasons, the manifest hash, and which attempt each episode is taught by. Where nobody succeeded the
        file is empty and the summary says so.

    Raises:
        UserError: a trace is missing or damaged, the plays' prompts are in different dialects, or the disk is full.
    """
    chosen = best_attempts(scores, leave_out_reported=config.leave_out_reported)
    styles = {score.prompt_style for score in chosen}
    if len(styles) > 1:
        raise UserError(
            f"people's plays were logged in {len(styles)} dialects of prompts ({', '.join(sorted(styles))})",
            "collect an iteration in one",
        )
    samples = config.samples.replace(prompt_style=styles.pop()) if styles else config.samples
    summary = build_samples(
        [sessions / score.trace for score in chosen], samples, out, progress, expected=expected
    ).model_dump()
    attempts = Counter(score.episode_id for score in scores)
    successes = Counter(score.episode_id for score in scores if score.success)
    return HumanGoldSummary(
        **summary,
        plays=len(scores),
        plays_successful=sum(successes.values()),
        plays_reported=sum(score.success and score.reported for score in scores) if config.leave_out_reported else 0,
        chosen=[
            ChosenPlay(
                episode_id=score.episode_id,
                play_id=score.play_id,
                participant_id=score.participant_id,
                attempts=attempts[score.episode_id],
                successes=successes[score.episode_id],
                steps=score.steps,
            )
            for score in chosen
        ],
    )
