"""Annotators for tests: people who look at collected plays afterwards and say what was wrong."""

from __future__ import annotations

from typing import Any, Literal

from hitl_ops.contracts.correction import DecisionCorrection, PlayReview, prompt_hash
from hitl_ops.contracts.decision import Decision
from hitl_ops.labels.opinions import Opinions, opinions, review_target
from hitl_ops.labels.rows import EpisodePlay, Label
from hitl_ops.records.traces import read_trace
from hitl_ops.samples.annotation_queue import policy_decisions
from tests.support.collected_plays import Collected


def made_in(collected: Collected, play: EpisodePlay) -> list[Decision]:
    """What the partner's policy decided in a play."""
    return policy_decisions(read_trace(collected.files(play)["trace"]).decisions)


def another(decision: Decision, number: int = 0) -> str:
    """An action that was possible and was not chosen."""
    return [action for action in decision.admissible if action != decision.action][number]


def mark(
    collected: Collected,
    play: EpisodePlay,
    decision: Decision,
    corrected: str | None = None,
    *,
    annotator: str = "eva",
    seconds: float = 4.0,
    key: str | None = None,
    **changes: Any,
) -> Label:
    """An annotator says what would have been right; another admissible action by default, nothing to take it back."""
    corrected = another(decision) if corrected is None else corrected
    fields = {
        "verdict": "error" if corrected else "withdrawn",
        "original": decision.action,
        "corrected": corrected,
        "reason": "",
        "policy_id": decision.policy_id,
        "prompt_hash": prompt_hash(decision.prompt),
    }
    value = DecisionCorrection.model_validate({**fields, **changes})
    said = len(collected.labels.labels(annotator=annotator, superseded=True))
    return collected.labels.add_label(
        "correction",
        program="planner",
        iteration=collected.iteration,
        annotator=annotator,
        client_key=key or f"mark-{said}",
        value=value.model_dump(mode="json"),
        seconds=seconds,
        session_id=play.session_id,
        episode_play_id=play.id,
        decision_index=decision.index,
    )


def review(
    collected: Collected,
    play: EpisodePlay,
    annotator: str = "eva",
    status: Literal["finished", "skipped"] = "finished",
) -> Label:
    """An annotator has been through a play."""
    said = len(collected.labels.labels(annotator=annotator, superseded=True))
    return collected.labels.add_label(
        "verdict",
        program="planner",
        iteration=collected.iteration,
        annotator=annotator,
        client_key=f"review-{said}",
        value=PlayReview(status=status).model_dump(mode="json"),
        seconds=10.0,
        episode_play_id=play.id,
        target=review_target(play.id),
    )


def said_in(collected: Collected) -> Opinions:
    """What everybody says about the plays."""
    return opinions(collected.labels, "planner", collected.iteration)
