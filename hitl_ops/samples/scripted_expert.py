"""An annotator that needs nobody: it looks through plays as a person would on the annotation page, and corrects them.

It knows the task and the home (see ``experts.action_judge``), and says what it says through the label store, so that
the whole loop can be run and measured without people. How often it is right is adjustable; the time it takes is
modelled, at so many seconds a play and a correction.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, Field

from hitl_ops.contracts.config import StrictConfig
from hitl_ops.contracts.correction import DecisionCorrection, PlayReview, prompt_hash
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.progress import Progress, silent
from hitl_ops.samples.annotation_queue import QUEUE_FILE, read_annotation_queue

if TYPE_CHECKING:
    # At run time only the configuration is needed by everyone who reads a preset; these bring worlds and a database.
    from hitl_ops.labels.label_store import LabelStore
    from hitl_ops.labels.opinions import PlayOpinions
    from hitl_ops.rollouts.decision_review import ReviewedDecision
    from hitl_ops.samples.collected_plays import CollectedPlay, PlayManifest

SCRIPTED_EXPERT = "scripted-expert"
"""The annotator's name, where it is given no other."""
_MADE_UP = "said at random: the expert's accuracy is below 1"


class ScriptedExpertConfig(StrictConfig):
    """How good the scripted expert is, and how much time it is said to take."""

    accuracy: float = Field(
        default=1.0,
        ge=0,
        le=1,
        description="share of decisions it judges rightly; every other one it marks as an error, and puts an action "
        "in its place that serves nothing: at 0 all of them",
    )
    seconds_per_play: float = Field(
        default=30.0, ge=0, le=3600, description="seconds of a person's time that going through a play is modelled with"
    )
    seconds_per_correction: float = Field(
        default=8.0, ge=0, le=3600, description="seconds of a person's time that a correction is modelled with"
    )
    max_corrections_per_play: int = Field(default=0, ge=0, description="corrections of a play, the first; 0: all")
    seed: int = Field(default=0, description="which decisions it judges wrongly, and what it then says, depends on it")


class LeftOutPlay(BaseModel):
    """A play that was not gone through."""

    play_id: str
    reason: str


class ScriptedSummary(BaseModel):
    """What the scripted expert did."""

    annotator: str
    accuracy: float
    plays: int = Field(default=0, description="plays gone through now")
    plays_before: int = Field(default=0, description="plays it had gone through before, left as they were")
    decisions: int = Field(default=0, description="decisions of policies in the plays gone through")
    wrong: int = Field(default=0, description="those of them that were wrong, as far as the oracle knows")
    refused: int = Field(default=0, description="those of them that the home refused")
    corrections: int = Field(default=0, description="decisions marked as errors")
    made_up: int = Field(default=0, description="those of them marked against better knowledge, accuracy being below 1")
    passed_over: int = Field(default=0, description="decisions beyond max_corrections_per_play, not marked")
    withdrawn: int = Field(default=0, description="marks of an unfinished earlier run taken back")
    seconds: float = Field(default=0.0, description="seconds of a person's time, modelled, not measured")
    by_tool: dict[str, int] = Field(default_factory=dict, description="corrections by the tool they name")
    left_out: list[LeftOutPlay] = Field(default_factory=list, description="plays that could not be gone through")


def annotate_plays(
    labels: LabelStore,
    manifest: PlayManifest,
    sessions: Path,
    config: ScriptedExpertConfig,
    *,
    plays: Sequence[str] | None = None,
    limit: int | None = None,
    annotator: str = SCRIPTED_EXPERT,
    progress: Progress = silent,
) -> ScriptedSummary:
    """Go through plays, mark what is wrong with the action that would have been right, and finish each review.

    A play that this annotator has finished before is left as it is, so that a second call adds nothing; one that an
    earlier call was stopped in is gone through again, and ends as if it had never been stopped.

    Args:
        labels: the label store.
        manifest: the iteration's plays.
        sessions: the iteration's sessions folder, which holds their logs.
        config: how good it is.
        plays: ids of the plays to go through, in order; by default the annotation queue, then what is not in it.
        limit: plays it shall have gone through in the end, those of earlier calls included; None: all.
        annotator: whose labels these are.
        progress: told after each play.

    Returns:
        What was done.

    Raises:
        LabelStoreUnavailable: the label store does not answer.
        UserError: a play is named that the manifest does not have, or the queue is damaged.
    """
    from hitl_ops.labels.opinions import opinions

    wanted = _in_order(manifest, sessions, plays)
    said = opinions(labels, manifest.program, manifest.iteration).plays
    before = {play_id for play_id, play in said.items() if annotator in play.reviews}
    summary = ScriptedSummary(annotator=annotator, accuracy=config.accuracy, plays_before=len(before))
    open_plays = [play for play in wanted if play.play_id not in before]
    if limit is not None:
        open_plays = open_plays[: max(0, limit - len(before))]
    expert = _Expert(labels, manifest, config, annotator, summary)
    for number, play in enumerate(open_plays, start=1):
        expert.go_through(play, sessions, said.get(play.play_id))
        progress(number, len(open_plays), f"{summary.corrections} corrections")
    return summary


def _in_order(manifest: PlayManifest, sessions: Path, plays: Sequence[str] | None) -> list[CollectedPlay]:
    by_id = {play.play_id: play for play in manifest.plays}
    if plays is None:
        queued = read_annotation_queue(sessions) if (sessions / QUEUE_FILE).is_file() else []
        first = [play.play_id for play in queued if play.play_id in by_id]
        return [by_id[play_id] for play_id in dict.fromkeys([*first, *by_id])]
    unknown = [play_id for play_id in plays if play_id not in by_id]
    if unknown:
        raise UserError(f"play '{unknown[0]}' is not among the iteration's plays", "materialise session_logs again")
    return [by_id[play_id] for play_id in dict.fromkeys(plays)]


class _Expert:
    """One annotator at work.

    Args:
        labels: where it says what it says.
        manifest: which iteration it is about.
        config: how good it is.
        annotator: its name.
        summary: what it did, counted on.
    """

    def __init__(
        self,
        labels: LabelStore,
        manifest: PlayManifest,
        config: ScriptedExpertConfig,
        annotator: str,
        summary: ScriptedSummary,
    ) -> None:
        self._labels = labels
        self._manifest = manifest
        self._config = config
        self._annotator = annotator
        self._summary = summary
        body = json.dumps(config.model_dump(mode="json"), sort_keys=True)
        # Another configuration may say other things of a play that an earlier run was stopped in.
        self._key = f"scripted/{hashlib.sha256(body.encode()).hexdigest()[:12]}"
        self._tools: Counter[str] = Counter()

    def go_through(self, play: CollectedPlay, sessions: Path, said: PlayOpinions | None) -> None:
        """Judge one play's decisions, and say so; the review comes last, so that it stands only where all else does."""
        from hitl_ops.labels.opinions import review_target
        from hitl_ops.records.session_log import closed_log_path, read_session_log
        from hitl_ops.rollouts.decision_review import review_play

        try:
            reviewed = review_play(read_session_log(closed_log_path(sessions / play.session_id, play.play_id)))
        except UserError as error:
            self._summary.left_out.append(LeftOutPlay(play_id=play.play_id, reason=str(error)))
            return
        corrections = dict(self._corrections(play, reviewed))
        kept = dict(list(corrections.items())[: self._config.max_corrections_per_play or None])
        for index, correction in kept.items():
            self._say(play, index, correction, self._config.seconds_per_correction)
        self._take_back(play, said, kept)
        review = PlayReview(status="finished", errors=len(kept))
        self._labels.add_label(
            "verdict",
            program=self._manifest.program,
            iteration=self._manifest.iteration,
            annotator=self._annotator,
            client_key=f"{self._key}/{play.play_id}/review",
            value=review.model_dump(mode="json"),
            seconds=self._config.seconds_per_play,
            episode_play_id=play.play_id,
            target=review_target(play.play_id),
        )
        self._count(reviewed, corrections, kept)

    def _corrections(
        self, play: CollectedPlay, reviewed: Sequence[ReviewedDecision]
    ) -> Iterator[tuple[int, DecisionCorrection]]:
        for one in reviewed:
            decision = one.decision
            # The place among all plays, not the play's made-up id: the same plays are judged alike in another store.
            luck = random.Random(f"{self._config.seed} {play.finish_id} {decision.index}")
            if luck.random() < self._config.accuracy:
                corrected, reason = (one.judgement.right, one.reason) if one.is_wrong else ("", "")
            else:
                senseless = [action for action in decision.admissible if not one.judgement.accepts(action)]
                choices = [action for action in senseless if action != decision.action]
                corrected, reason = (luck.choice(choices), _MADE_UP) if choices else ("", "")
            if corrected:
                yield (
                    decision.index,
                    DecisionCorrection(
                        verdict="error",
                        original=decision.action,
                        corrected=corrected,
                        reason=reason,
                        policy_id=decision.policy_id,
                        prompt_hash=prompt_hash(decision.prompt),
                    ),
                )

    def _take_back(self, play: CollectedPlay, said: PlayOpinions | None, kept: dict[int, DecisionCorrection]) -> None:
        """Withdraw what a run with another configuration marked before it was stopped."""
        for index, opinions in sorted(said.decisions.items()) if said is not None else ():
            opinion = opinions.get(self._annotator)
            if opinion is None or opinion.in_play or not opinion.corrected or index in kept:
                continue
            taken_back = DecisionCorrection(
                verdict="withdrawn",
                original=opinion.original,
                policy_id=opinion.policy_id,
                prompt_hash=opinion.prompt_hash,
            )
            self._say(play, index, taken_back, 0.0)
            self._summary.withdrawn += 1

    def _say(self, play: CollectedPlay, index: int, correction: DecisionCorrection, seconds: float) -> None:
        self._labels.add_label(
            "correction",
            program=self._manifest.program,
            iteration=self._manifest.iteration,
            annotator=self._annotator,
            client_key=f"{self._key}/{play.play_id}/{index}",
            value=correction.model_dump(mode="json"),
            seconds=seconds,
            episode_play_id=play.play_id,
            decision_index=index,
        )

    def _count(
        self,
        reviewed: Sequence[ReviewedDecision],
        corrections: dict[int, DecisionCorrection],
        kept: dict[int, DecisionCorrection],
    ) -> None:
        summary = self._summary
        summary.plays += 1
        summary.decisions += len(reviewed)
        summary.wrong += sum(one.is_wrong for one in reviewed)
        summary.refused += sum(one.refused for one in reviewed)
        summary.corrections += len(kept)
        summary.made_up += sum(correction.reason == _MADE_UP for correction in kept.values())
        summary.passed_over += len(corrections) - len(kept)
        summary.seconds += self._config.seconds_per_play + self._config.seconds_per_correction * len(kept)
        self._tools.update(correction.corrected.partition("[")[0] for correction in kept.values())
        summary.by_tool = dict(sorted(self._tools.items()))
