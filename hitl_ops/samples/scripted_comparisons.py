"""Scripted people who compare an iteration's pairs, through the label store and the queue that people are asked from.

They are shown what people would be: sides by lot, some pairs asked of two, some asked again with the sides changed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pydantic import Field, field_validator

from hitl_ops.contracts.preference import PreferenceValue
from hitl_ops.contracts.progress import Progress, silent
from hitl_ops.experts.scripted_comparer import ScriptedComparer, ScriptedComparerConfig
from hitl_ops.labels.preferences import preference, say_preference, standing_preferences
from hitl_ops.records.clips import ClipSet
from hitl_ops.samples.comparison_queue import ComparisonQueue, ComparisonSettings, Question

if TYPE_CHECKING:
    from hitl_ops.labels.label_log import LabelLog
    from hitl_ops.labels.preferences import Preference
    from hitl_ops.records.clips import Clip


class ScriptedPeopleConfig(ScriptedComparerConfig):
    """Scripted people who share the pairs of an iteration."""

    people: tuple[str, ...] = Field(default=("scripted",), min_length=1, description="their names, each once")
    overlap: float = Field(default=0.0, ge=0, le=1, description="share of pairs asked of two of them")
    repeats: float = Field(default=0.0, ge=0, le=1, description="share of somebody's own pairs asked again")

    @field_validator("people")
    @classmethod
    def _names(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(names)) != len(names) or not all(name.strip() for name in names):
            raise ValueError("everybody needs a name of their own")
        return names

    @property
    def comparer(self) -> ScriptedComparerConfig:
        """How each of them compares."""
        return ScriptedComparerConfig.model_validate(self.model_dump(exclude={"people", "overlap", "repeats"}))

    @property
    def asked(self) -> ComparisonSettings:
        """Of how many each pair is asked, and how often again."""
        return ComparisonSettings(overlap=self.overlap, repeats=self.repeats)


@dataclass
class ScriptedComparisons:
    """What scripted people did.

    Attributes:
        answers: given now.
        before: answers that stood already.
        seconds: of modelled time that those given now took.
        by_person: name → answers given now.
    """

    answers: int = 0
    before: int = 0
    seconds: float = 0.0
    by_person: dict[str, int] = field(default_factory=dict)


def compare_by_script(
    labels: LabelLog,
    clip_set: ClipSet,
    iteration: int,
    config: ScriptedPeopleConfig,
    *,
    program: str,
    limit: int | None = None,
    progress: Progress = silent,
) -> ScriptedComparisons:
    """Let scripted people answer an iteration's pairs until none is left; called again, it adds what is missing.

    Args:
        labels: the label store.
        clip_set: the iteration's clips and pairs.
        iteration: its number.
        config: who they are, and how well they answer.
        program: whose clips they are.
        limit: answers that shall stand in the end; None: of all pairs.
        progress: told after each answer.

    Raises:
        UserError: nobody knows what a clip was worth.
        LabelStoreUnavailable: the label store does not answer.
    """
    clips = {clip.facts.clip_id: clip for clip in clip_set.all_clips()}
    words = standing_preferences(labels, program, iteration)
    done = ScriptedComparisons(before=len(words), by_person=dict.fromkeys(config.people, 0))
    comparers = {name: ScriptedComparer(config.comparer, name) for name in config.people}
    waiting = list(config.people)
    while waiting and (limit is None or len(words) < limit):
        name = waiting.pop(0)
        queue = ComparisonQueue(clip_set, words, config.asked)
        for question in queue.next_for(name, 1):
            words.append(_said(labels, question, clips, comparers[name], program, iteration))
            done.answers += 1
            done.seconds += config.seconds
            done.by_person[name] += 1
            waiting.append(name)
        progress(len(words), max(len(words), queue.so_far.wanted), f"{done.answers} comparisons")
    return done


def _said(
    labels: LabelLog,
    question: Question,
    clips: dict[str, Clip],
    comparer: ScriptedComparer,
    program: str,
    iteration: int,
) -> Preference:
    left, right, pair_id = clips[question.left], clips[question.right], question.pair.pair_id
    said = PreferenceValue(
        pair_id=pair_id,
        left=question.left,
        right=question.right,
        left_hash=left.facts.content_hash,
        right_hash=right.facts.content_hash,
        choice=comparer.answer(pair_id, left, right, again=question.repeat),
        repeat=question.repeat,
    )
    label = say_preference(
        labels,
        said,
        program=program,
        iteration=iteration,
        annotator=comparer.name,
        # One a person and question: a demo that was killed between two answers gives none of them twice. Other clips
        # of the same names are other questions.
        client_key=f"scripted/{program}/{iteration}/{pair_id}{'/again' if question.repeat else ''}/{_clips(said)}",
        seconds=comparer.config.seconds,
    )
    word = preference(label)
    assert word is not None  # it is what was just said
    return word


def _clips(said: PreferenceValue) -> str:
    return "-".join(sorted(content[:8] for content in (said.left_hash, said.right_hash)))
