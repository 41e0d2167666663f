"""Samples out of corrections: what people would have had the policy do, at exactly the prompt it chose from.

The prompt is the logged one, to the letter; a correction whose prompt, action or decision is not the one the record
holds is left out by name. Where several people judged a decision, the action most of them would have had done is
taught; where two have equally many votes, none is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, Field

from hitl_ops.contracts.config import StrictConfig
from hitl_ops.contracts.correction import join_label_ids, prompt_hash
from hitl_ops.contracts.decision import Decision
from hitl_ops.contracts.episode import original_episode_id
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.preference_pair import PreferencePair
from hitl_ops.contracts.progress import Progress, silent
from hitl_ops.contracts.sample import ACTION_MARKER, END_OF_ACTION, Sample
from hitl_ops.records.traces import Trace, read_trace
from hitl_ops.rollouts.partner_decisions import OVERRIDE
from hitl_ops.samples.parquet import write_samples
from hitl_ops.samples.preference_pairs import write_preference_pairs
from hitl_ops.worlds.household.tools import SUCCESS

if TYPE_CHECKING:
    # At run time only the configuration below is needed by everyone who reads a preset; these bring a database.
    from hitl_ops.labels.opinions import Opinion, Opinions, PlayOpinions
    from hitl_ops.samples.collected_plays import CollectedPlay, PlayManifest

PAIRS_FILE = "preference_pairs.parquet"
DROPPED = Literal[
    "tie",
    "held for right",
    "too few agree",
    "no such decision",
    "not the policy's",
    "other prompt",
    "other action",
    "not admissible",
    "as it was",
    "decided in the play",
    "failed in the play",
    "episode not expected",
    "play not listed",
]
"""Why a marked decision is not taught."""


class ExpertConfig(StrictConfig):
    """What of people's corrections is taught."""

    weight: float = Field(default=5.0, ge=0, description="weight of every sample")
    pair_weight: float = Field(default=1.0, ge=0, description="weight of every preference pair")
    in_play: bool = Field(
        default=True, description="also teach what people decided for the partner during a play, where it succeeded"
    )
    least_annotators: int = Field(
        default=1, ge=1, description="people who must have chosen the same action for it to be taught"
    )


class LeftOut(BaseModel):
    """A corrected decision that is not taught."""

    play_id: str
    decision: int
    reason: DROPPED
    annotators: list[str] = Field(description="who marked it")


class ExpertSummary(BaseModel):
    """What an iteration's corrections gave."""

    samples: int = 0
    pairs: int = Field(default=0, description="preference pairs: corrected beats original")
    corrected: int = Field(default=0, description="decisions that somebody marked")
    in_play: int = Field(default=0, description="samples of what was decided during a play")
    several: int = Field(default=0, description="samples that more than one person chose")
    plays: int = Field(default=0, description="plays that gave a sample")
    reviewed: int = Field(default=0, description="plays that somebody has been through")
    by_annotator: dict[str, int] = Field(default_factory=dict, description="samples by who chose them")
    by_tool: dict[str, int] = Field(default_factory=dict, description="samples by the tool they teach")
    dropped: dict[str, int] = Field(default_factory=dict, description="marked decisions left out, by reason")
    left_out: list[LeftOut] = Field(default_factory=list, description="those, by name")
    seconds: float = Field(default=0.0, description="seconds people spent on the labels")
    weight: float = 0.0
    iteration: int = 0
    prompt_style: str = ""
    opinions_hash: str = Field(default="", description="what people said when the samples were made")
    manifest_hash: str = Field(default="", description="as of every sample file")
    pairs_hash: str = ""


def build_expert_samples(
    manifest: PlayManifest,
    sessions: Path,
    opinions: Opinions,
    config: ExpertConfig,
    out: Path,
    progress: Progress = silent,
    *,
    expected: Collection[str] | None = None,
) -> ExpertSummary:
    """Make a sample of every decision people agree to correct, and publish them as Parquet, with preference pairs.

    Args:
        manifest: the iteration's plays.
        sessions: the iteration's sessions folder, which holds their traces.
        opinions: what people say (:func:`hitl_ops.labels.opinions.opinions`).
        config: what to take.
        out: the sample file; ``preference_pairs.parquet`` is written beside it.
        progress: told after each play.
        expected: ids of the episodes to teach; marked decisions of others are left out by name. None teaches all.

    Returns:
        Counts, what was left out and why, and the manifest hash. Without a correction both files are empty.

    Raises:
        UserError: a trace is missing or damaged, the plays' prompts are in different dialects, or the disk is full.
    """
    listed = {play.play_id for play in manifest.plays}
    build = _Build(config, manifest.iteration)
    for play_id in sorted(set(opinions.plays) - listed):
        for index in _marked(opinions.plays[play_id]):
            build.leave_out(opinions.plays[play_id], index, "play not listed")
    wanted = None if expected is None else frozenset(expected)
    said = [(play, opinions.plays[play.play_id]) for play in manifest.plays if play.play_id in opinions.plays]
    for position, (play, of_play) in enumerate(said, start=1):
        build.take_in(play, of_play, sessions, wanted)
        progress(position, len(said), f"{len(build.samples)} samples")
    if len(build.styles) > 1:
        raise UserError(
            f"corrected plays were logged in {len(build.styles)} dialects of prompts"
            f" ({', '.join(sorted(build.styles))})",
            "collect an iteration in one",
        )
    style = build.styles.pop() if build.styles else "incremental"
    # Pairs first: whoever finds the samples finds them too.
    pairs = write_preference_pairs(out.with_name(PAIRS_FILE), build.pairs, prompt_style=style)
    written = write_samples(
        out,
        build.samples,
        prompt_style=style,
        notes={"config": config.model_dump_json(), "opinions_hash": opinions.hash},
    )
    summary = build.summary
    summary.samples, summary.pairs = written.samples, len(build.pairs)
    summary.reviewed, summary.seconds = len(opinions.reviewed), opinions.seconds
    summary.plays = len({sample.trace for sample in build.samples})
    summary.by_annotator = dict(sorted(build.by_annotator.items()))
    summary.by_tool = dict(sorted(Counter(s.completion.partition("[")[0].strip() for s in build.samples).items()))
    summary.dropped = dict(sorted(Counter(one.reason for one in summary.left_out).items()))
    summary.weight, summary.iteration, summary.prompt_style = config.weight, manifest.iteration, style
    summary.opinions_hash, summary.manifest_hash, summary.pairs_hash = opinions.hash, written.hash, pairs
    return summary


def _marked(play: PlayOpinions) -> list[int]:
    """Decisions that somebody would have had otherwise, ascending."""
    return sorted(index for index, said in play.decisions.items() if any(one.corrected for one in said.values()))


class _Build:
    """Samples and pairs while they are made, and what is left out."""

    def __init__(self, config: ExpertConfig, iteration: int) -> None:
        self.config = config
        self.iteration = iteration
        self.samples: list[Sample] = []
        self.pairs: list[PreferencePair] = []
        self.styles: set[str] = set()
        self.by_annotator: Counter[str] = Counter()
        self.summary = ExpertSummary()

    def leave_out(self, play: PlayOpinions, index: int, reason: DROPPED) -> None:
        marking = sorted(name for name, one in play.decisions[index].items() if one.corrected)
        self.summary.corrected += 1
        self.summary.left_out.append(LeftOut(play_id=play.play_id, decision=index, reason=reason, annotators=marking))

    def take_in(self, play: CollectedPlay, said: PlayOpinions, sessions: Path, expected: frozenset[str] | None) -> None:
        marked = _marked(said)
        if not marked:
            return
        if expected is not None and original_episode_id(play.episode_id) not in expected:
            for index in marked:
                self.leave_out(said, index, "episode not expected")
            return
        trace = read_trace(play.trace(sessions))
        decisions = {decision.index: decision for decision in trace.decisions}
        for index in marked:
            agreed = self._agreed(said, index)
            if not isinstance(agreed, list):
                self.leave_out(said, index, agreed)
                continue
            reason = next((why for one in agreed if (why := _unfit(one, decisions, index)) is not None), None)
            if reason is not None:
                self.leave_out(said, index, reason)
                continue
            self.styles.add(play.prompt_style)
            self._teach(play, trace, decisions, index, agreed)

    def _agreed(self, said: PlayOpinions, index: int) -> list[Opinion] | DROPPED:
        """The opinions of those whose action is taught, or why none is."""
        votes = said.votes(index)
        counts = Counter(votes.values())
        most = max(counts.values())
        first = [action for action, count in counts.items() if count == most]
        if len(first) > 1:
            return "tie"
        if not first[0]:
            return "held for right"
        agreed = [said.decisions[index][name] for name, action in sorted(votes.items()) if action == first[0]]
        if len(agreed) < self.config.least_annotators:
            return "too few agree"
        if agreed[0].in_play and not self.config.in_play:
            return "decided in the play"
        return agreed

    def _teach(
        self, play: CollectedPlay, trace: Trace, decisions: dict[int, Decision], index: int, agreed: list[Opinion]
    ) -> None:
        opinion = agreed[0]
        # What was decided in the play was carried out as a decision of its own, with the very same prompt.
        decision = decisions[index if opinion.done_instead is None else opinion.done_instead]
        header = trace.header
        place = f"{header.episode_id}/{play.play_id}/{decision.index}"
        chosen = opinion.corrected + END_OF_ACTION
        labels = join_label_ids(one.label_id for one in agreed)
        same: dict[str, Any] = {
            "episode_id": header.episode_id,
            "split": header.split,
            "scene_id": header.scene_id,
            "task_type": header.task_type,
            "step": decision.index,
            "agent": decision.agent,
            "iteration": self.iteration,
            "prompt": decision.prompt,
            "policy_id": opinion.policy_id,
            "trace": trace.path.name,
        }
        self.samples.append(
            Sample(
                sample_id=f"{place}/expert",
                source="expert",
                completion=chosen,
                weight=self.config.weight,
                label_id=labels,
                **same,
            )
        )
        if opinion.original:
            self.pairs.append(
                PreferencePair(
                    pair_id=f"{place}/pair",
                    play_id=play.play_id,
                    chosen=chosen,
                    rejected=opinion.original + END_OF_ACTION,
                    weight=self.config.pair_weight,
                    label_ids=labels,
                    **same,
                )
            )
        self.summary.corrected += 1
        self.summary.in_play += opinion.in_play
        self.summary.several += len(agreed) > 1
        self.by_annotator.update(one.annotator for one in agreed)


def _unfit(opinion: Opinion, decisions: dict[int, Decision], index: int) -> DROPPED | None:
    """Why an opinion does not fit the record; None where it does."""
    decision = decisions.get(index if opinion.done_instead is None else opinion.done_instead)
    if decision is None:
        return "no such decision"
    if decision.role != "ai" or (decision.stats.get(OVERRIDE) and not opinion.in_play):
        return "not the policy's"
    if prompt_hash(decision.prompt) != opinion.prompt_hash or not decision.prompt.endswith(ACTION_MARKER):
        return "other prompt"
    done = opinion.original if opinion.done_instead is None else opinion.corrected
    if decision.action != done:
        return "other action"
    if opinion.corrected not in decision.admissible:
        return "not admissible"
    if opinion.corrected == opinion.original:
        return "as it was"
    if opinion.in_play and opinion.corrected != "Done[]" and not decision.response.startswith(SUCCESS):
        return "failed in the play"
    return None
