"""Clips from the best to the worst, by what a learned reward holds them to be worth."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.preference import WorthOf
from hitl_ops.contracts.publish import publish_json
from hitl_ops.records.clips import Clip, ClipSet


class RankedClip(BaseModel):
    """One clip's place."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    place: int = Field(ge=1, description="1 is the best; clips that are worth the same share one")
    clip_id: str
    score: float = Field(allow_inf_nan=False, description="what it is worth, in the reward's own units")
    per_step: float = Field(allow_inf_nan=False, description="the same by step: clips may be of different lengths")
    steps: int = Field(ge=1)
    episode_id: str
    policy_id: str
    task: str
    record: str = Field(description="file it was cut from, relative to the store's root; empty: the set has all")


def rank_clips(clip_set: ClipSet, score: Callable[[Clip], float], worth: WorthOf = "sum") -> list[RankedClip]:
    """Every clip of a set, the best first; equal ones in the order of their ids.

    Args:
        clip_set: the clips.
        score: what a clip is worth, summed over its steps.
        worth: what decides a clip's place: that sum, or the mean of its steps, which favours no long clips.

    Raises:
        UserError: a clip is malformed, or what it is worth is no finite number.
    """
    scored = [(float(score(clip)), clip.facts) for clip in clip_set.all_clips()]
    for total, facts in scored:
        if not math.isfinite(total):
            raise UserError(f"clip '{facts.clip_id}' is worth {total}", "train the reward anew")

    def decides(total: float, steps: int) -> float:
        return total if worth == "sum" else total / steps

    scored.sort(key=lambda one: (-decides(one[0], one[1].steps), one[1].clip_id))
    ranked: list[RankedClip] = []
    for number, (total, facts) in enumerate(scored, 1):
        before = ranked[-1] if ranked else None
        same = before is not None and decides(before.score, before.steps) == decides(total, facts.steps)
        ranked.append(
            RankedClip(
                place=before.place if same and before is not None else number,
                clip_id=facts.clip_id,
                score=total,
                per_step=total / facts.steps,
                steps=facts.steps,
                episode_id=facts.episode_id,
                policy_id=facts.policy_id,
                task=facts.task,
                record=facts.record,
            )
        )
    return ranked


def write_ranking(ranked: Sequence[RankedClip], file: Path) -> None:
    """Publish a ranking as JSON, the best first.

    Raises:
        CannotWrite: the disk is full or the place cannot be written.
    """
    publish_json(file, [one.model_dump(mode="json") for one in ranked])


def ranking_table(ranked: Sequence[RankedClip], most: int = 0) -> str:
    """A ranking as lines of text.

    Args:
        ranked: the best first.
        most: show only so many from either end; 0: all.
    """
    heads = ("place", "score", "per step", "clip", "who", "record")
    cut = bool(most) and len(ranked) > 2 * most
    shown = [*ranked[:most], *ranked[-most:]] if cut else ranked
    rows = [
        (str(one.place), f"{one.score:.3f}", f"{one.per_step:.4f}", one.clip_id, one.policy_id, one.record)
        for one in shown
    ]
    widths = [max(len(row[column]) for row in (heads, *rows)) for column in range(len(heads))]
    numbers = 3

    def line(row: Sequence[str]) -> str:
        parts = [
            text.rjust(width) if column < numbers else text.ljust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ]
        return "  ".join(parts).rstrip()

    lines = [line(heads), *(line(row) for row in rows)]
    if cut:
        lines.insert(1 + most, f"… {len(ranked) - 2 * most} more …")
    return "\n".join(lines)


def mean_scores(ranked: Sequence[RankedClip]) -> dict[str, float]:
    """What the clips of each policy are worth a step, on average; the best policy first."""
    by_policy: dict[str, list[float]] = defaultdict(list)
    for one in ranked:
        by_policy[one.policy_id].append(one.per_step)
    means = {name: sum(found) / len(found) for name, found in by_policy.items()}
    return dict(sorted(means.items(), key=lambda item: (-item[1], item[0])))
