"""What people say about an iteration's decisions: each person's last word, and how far they agree."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from itertools import combinations
from typing import TYPE_CHECKING, TypeVar

from pydantic import BaseModel, Field, ValidationError

from hitl_ops.contracts.correction import (
    AnnotationFinished,
    CorrectionValue,
    DecisionCorrection,
    PlayReview,
    prompt_hash,
)
from hitl_ops.contracts.store import iteration_key
from hitl_ops.labels.label_log import play_target
from hitl_ops.labels.rows import LabelKind

if TYPE_CHECKING:
    from hitl_ops.labels.label_store import LabelStore
    from hitl_ops.labels.rows import Label

_KINDS: tuple[LabelKind, ...] = ("correction", "verdict")
SaidT = TypeVar("SaidT", bound=BaseModel)
ORIGIN = "origin"
"""Key in a label's value: there where it was said on the annotation page."""


def review_target(play_id: str) -> str:
    """The target of a label that says a play has been reviewed."""
    return f"{play_target(play_id)}/review"


def annotation_target(program: str, iteration: int) -> str:
    """The target of a label that closes an iteration's annotation."""
    return f"iteration/{program}/{iteration_key(iteration)}/annotation"


@dataclass(frozen=True, slots=True)
class Opinion:
    """What one person last said about one decision of a play.

    Attributes:
        annotator: who.
        label_id: the label that says it.
        original: what the policy chose; empty where it had not replied when a person decided for it.
        corrected: what it should have chosen; empty where the annotator took back an earlier word.
        reason: why, in the annotator's words.
        policy_id: the policy that chose.
        prompt_hash: sha256 of what it chose from.
        seconds: seconds of the person's time this label took.
        done_instead: index of the decision that the partner carried out instead, where the person decided so during
            the play; None where it was said afterwards.
    """

    annotator: str
    label_id: int
    original: str
    corrected: str
    reason: str
    policy_id: str
    prompt_hash: str
    seconds: float
    done_instead: int | None = None

    @property
    def in_play(self) -> bool:
        """Whether it was decided during the play."""
        return self.done_instead is not None


@dataclass(frozen=True, slots=True)
class PlayOpinions:
    """What people say about one play.

    Attributes:
        play_id: which play.
        decisions: index of a decision → annotator → opinion. What a person decided for the partner in the play is
            about the decision that was broken off, or, where the policy had not replied yet, about what was done.
        reviews: annotator → their last word on the play as a whole.
    """

    play_id: str
    decisions: dict[int, dict[str, Opinion]] = field(default_factory=dict)
    reviews: dict[str, PlayReview] = field(default_factory=dict)

    @property
    def reviewers(self) -> list[str]:
        """Who has been through the whole play, sorted."""
        return sorted(name for name, review in self.reviews.items() if review.status == "finished")

    @property
    def overridden(self) -> set[int]:
        """Decisions that were corrected in the play itself."""
        return {index for index, said in self.decisions.items() if any(opinion.in_play for opinion in said.values())}

    @property
    def errors(self) -> int:
        """Decisions that at least one annotator marks as an error, those corrected in the play left out."""
        return sum(
            any(opinion.corrected and not opinion.in_play for opinion in said.values())
            for said in self.decisions.values()
        )

    def votes(self, index: int) -> dict[str, str]:
        """Who would have had what done at a decision: annotator → action, empty where the decision is right.

        Whoever has reviewed the play and not marked the decision holds it for right, except where it was corrected
        in the play: there was nothing left to mark. What was chosen in the play counts where no annotator spoke.
        """
        said = self.decisions.get(index, {})
        votes = {name: opinion.corrected for name, opinion in said.items() if opinion.corrected and not opinion.in_play}
        if index not in self.overridden:
            return {**dict.fromkeys(self.reviewers, ""), **votes}
        return votes or {name: opinion.corrected for name, opinion in said.items() if opinion.in_play}


@dataclass(frozen=True, slots=True)
class Opinions:
    """What people say about an iteration.

    Attributes:
        program: the loop.
        iteration: its turn.
        plays: play id → what is said of it; plays of which nobody said anything are absent, so are withdrawn ones.
        closed_by: annotators who closed the iteration's annotation by hand, sorted.
        last_label_id: the newest label that was looked at; 0 where there is none.
        seconds: seconds of people's time all these labels took, superseded ones included.
    """

    program: str
    iteration: int
    plays: dict[str, PlayOpinions] = field(default_factory=dict)
    closed_by: list[str] = field(default_factory=list)
    last_label_id: int = 0
    seconds: float = 0.0

    @property
    def reviewed(self) -> list[str]:
        """Plays that at least one annotator has finished or skipped, sorted."""
        return sorted(play_id for play_id, said in self.plays.items() if said.reviews)

    @property
    def hash(self) -> str:
        """The sha256 over everything that stands: another word on any decision changes it, time spent does not."""
        standing = [
            [
                play_id,
                {name: review.model_dump(mode="json") for name, review in sorted(self.plays[play_id].reviews.items())},
                [
                    [index, name, said.label_id, said.original, said.corrected, said.prompt_hash]
                    for index, opinions_of in sorted(self.plays[play_id].decisions.items())
                    for name, said in sorted(opinions_of.items())
                ],
            ]
            for play_id in sorted(self.plays)
        ]
        body = json.dumps([self.program, self.iteration, standing], sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(body.encode("utf-8")).hexdigest()


class Agreement(BaseModel):
    """How far annotators who reviewed the same plays agree. Every pair of annotators counts."""

    plays: int = Field(default=0, description="plays reviewed by at least two")
    decisions: int = Field(default=0, description="decisions judged by at least two")
    alike: float | None = Field(
        default=None, description="share of the pairs of judgements that are the same: right, or the same action"
    )
    kappa: float | None = Field(
        default=None,
        description="Cohen's kappa of marking a decision as an error, the mean over pairs of annotators weighted by "
        "decisions; null where it is not defined",
    )


def opinions(labels: LabelStore, program: str, iteration: int) -> Opinions:
    """Read what people say about an iteration's plays: of each person the last word on each thing.

    Args:
        labels: the label store.
        program: the loop.
        iteration: its turn.

    Raises:
        LabelStoreUnavailable: the label store does not answer.
        UserError: there is no such program.
    """
    standing = {play.id for play in labels.finished_plays(program, iteration)}
    rows = [
        label for kind in _KINDS for label in labels.labels(kind, program=program, iteration=iteration, superseded=True)
    ]
    rows.sort(key=lambda label: label.id)
    found = Opinions(
        program, iteration, last_label_id=rows[-1].id if rows else 0, seconds=sum(row.seconds for row in rows)
    )
    closing = annotation_target(program, iteration)
    for row in rows:  # oldest first: of each person the last word stays
        if row.episode_play_id is None:
            if (
                row.target == closing
                and _said(AnnotationFinished, row) is not None
                and row.annotator not in found.closed_by
            ):
                found.closed_by.append(row.annotator)
        elif row.episode_play_id in standing:
            _take_in(row, found.plays.setdefault(row.episode_play_id, PlayOpinions(row.episode_play_id)))
    found.closed_by.sort()
    return found


def opinions_of_play(labels: LabelStore, play_id: str) -> PlayOpinions:
    """Read what people say about one play: of each person the last word on each thing.

    Raises:
        LabelStoreUnavailable: the label store does not answer.
    """
    found = PlayOpinions(play_id)
    for row in labels.labels(episode_play_id=play_id, superseded=True):
        if row.kind in _KINDS:
            _take_in(row, found)
    return found


def _take_in(row: Label, play: PlayOpinions) -> None:
    if row.kind == "verdict":
        review = _said(PlayReview, row) if row.target == review_target(play.play_id) else None
        if review is not None:
            play.reviews[row.annotator] = review
        return
    if row.decision_index is None:
        return
    if ORIGIN not in row.value:
        chosen = _said(CorrectionValue, row)
        if chosen is not None:
            about = row.decision_index if chosen.replaces is None else chosen.replaces
            play.decisions.setdefault(about, {})[row.annotator] = Opinion(
                annotator=row.annotator,
                label_id=row.id,
                original=chosen.original,
                corrected=chosen.corrected,
                reason="",
                policy_id=chosen.policy_id,
                prompt_hash=prompt_hash(chosen.prompt),
                seconds=row.seconds,
                done_instead=chosen.decision_index,
            )
        return
    said = _said(DecisionCorrection, row)
    if said is not None:
        play.decisions.setdefault(row.decision_index, {})[row.annotator] = Opinion(
            annotator=row.annotator,
            label_id=row.id,
            original=said.original,
            corrected=said.corrected,
            reason=said.reason,
            policy_id=said.policy_id,
            prompt_hash=said.prompt_hash,
            seconds=row.seconds,
        )


def _said(model: type[SaidT], row: Label) -> SaidT | None:
    """The label's value; None where the label says something of another kind, as labels of these kinds may."""
    try:
        return model.model_validate(row.value)
    except ValidationError:
        return None


def agreement(said: Opinions, judged: Mapping[str, Collection[int]]) -> Agreement:
    """How far annotators agree on the plays that several of them reviewed.

    Args:
        said: what they say.
        judged: play id → indices of its decisions that were to be judged (the partner's policy's); see
            :func:`hitl_ops.samples.annotation_queue.judged_decisions`.
    """
    alike = pairs = 0
    decisions: set[tuple[str, int]] = set()
    plays: set[str] = set()
    marked: dict[tuple[str, str], list[tuple[bool, bool]]] = {}
    for play_id, play in sorted(said.plays.items()):
        for one, other in combinations(play.reviewers, 2):
            plays.add(play_id)
            for index in set(judged.get(play_id, ())) - play.overridden:
                votes = play.votes(index)
                decisions.add((play_id, index))
                pairs += 1
                alike += votes[one] == votes[other]
                marked.setdefault((one, other), []).append((bool(votes[one]), bool(votes[other])))
    kappas = [(kappa, len(judgements)) for judgements in marked.values() if (kappa := _kappa(judgements)) is not None]
    weight = sum(count for _, count in kappas)
    return Agreement(
        plays=len(plays),
        decisions=len(decisions),
        alike=alike / pairs if pairs else None,
        kappa=sum(kappa * count for kappa, count in kappas) / weight if weight else None,
    )


def _kappa(judgements: list[tuple[bool, bool]]) -> float | None:
    """Cohen's kappa of two annotators; None where both always say the same one thing, so that chance alone agrees."""
    count = len(judgements)
    observed = sum(one == other for one, other in judgements) / count
    first, second = (sum(pair[place] for pair in judgements) / count for place in (0, 1))
    chance = first * second + (1 - first) * (1 - second)
    return None if chance >= 1 else (observed - chance) / (1 - chance)
