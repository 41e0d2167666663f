"""Annotations as a file that other tools read and write: ``annotations.json``, by episode.

::

    {"train_0003": [{"timestep": 412, "agent_uid": 1,
                     "original_action": "Pick", "original_target": "mug_1",
                     "corrected_action": "Navigate", "corrected_target": "mug_1",
                     "reason": "too far away", "task_progress_at_time": 0.5,
                     "play_id": "…", "decision_index": 9, "annotator": "ann"}]}

A timestep is a frame of PARTNR's episode file, ten a second; a target holds all of an action's arguments. The last
three keys are ours and say exactly what is meant; without them the decision is found by timestep and original action.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from hitl_ops.contracts.action import Action, parse_action
from hitl_ops.contracts.correction import REASON_LENGTH, DecisionCorrection, prompt_hash
from hitl_ops.contracts.decision import Decision
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.progress import Progress, silent
from hitl_ops.contracts.publish import publish_json
from hitl_ops.records.traces import read_trace
from hitl_ops.rollouts.session_frames import TICKS_PER_FRAME
from hitl_ops.samples.annotation_queue import policy_decisions

if TYPE_CHECKING:
    from hitl_ops.labels.label_store import LabelStore
    from hitl_ops.labels.opinions import Opinions
    from hitl_ops.samples.collected_plays import CollectedPlay, PlayManifest


class Annotation(BaseModel):
    """One correction in the file; what else an entry says is passed over."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    timestep: int = Field(ge=0, description="frame at which the decision was made")
    agent_uid: int = Field(default=1, ge=0, description="number of the agent that decided")
    original_action: str = Field(max_length=40, description="tool the policy chose")
    original_target: str | None = Field(default=None, max_length=360, description="its arguments")
    corrected_action: str = Field(max_length=40, description="tool it should have chosen")
    corrected_target: str | None = Field(default=None, max_length=360, description="its arguments")
    reason: str = Field(default="", max_length=REASON_LENGTH)
    task_progress_at_time: float = Field(default=0.0, ge=0, le=1, description="percent complete just before")
    play_id: str | None = Field(default=None, description="the play, where an episode was played more than once")
    decision_index: int | None = Field(default=None, ge=0, description="the decision among the play's")
    annotator: str | None = Field(default=None, description="who says it")


_FILE: TypeAdapter[dict[str, list[Annotation]]] = TypeAdapter(dict[str, list[Annotation]])


class ImportSummary(BaseModel):
    """What became of a file's annotations."""

    added: int = Field(default=0, description="labels added")
    known: int = Field(default=0, description="said before by the same annotator")
    refused: list[str] = Field(default_factory=list, description="those that fit no record, each with the reason")


def export_annotations(manifest: PlayManifest, sessions: Path, opinions: Opinions, out: Path) -> int:
    """Write every correction made on the annotation page to ``out``; returns how many.

    Args:
        manifest: the iteration's plays.
        sessions: the iteration's sessions folder, which holds their traces.
        opinions: what people say; of each annotator the last word on each decision is written.
        out: the JSON file.

    Raises:
        UserError: a trace is missing or damaged, or the disk is full.
    """
    episodes: dict[str, list[dict[str, object]]] = {}
    for play in manifest.plays:
        said = opinions.plays.get(play.play_id)
        if said is None:
            continue
        decisions = read_trace(play.trace(sessions)).decisions
        by_index = {decision.index: decision for decision in decisions}
        for index, of_decision in sorted(said.decisions.items()):
            for name, opinion in sorted(of_decision.items()):
                if opinion.in_play or not opinion.corrected or index not in by_index:
                    continue
                original, corrected = parse_action(opinion.original), parse_action(opinion.corrected)
                annotation = Annotation(
                    timestep=timestep_of(by_index[index]),
                    agent_uid=by_index[index].agent,
                    original_action=original.tool,
                    original_target=", ".join(original.args) or None,
                    corrected_action=corrected.tool,
                    corrected_target=", ".join(corrected.args) or None,
                    reason=opinion.reason,
                    task_progress_at_time=_progress_at(decisions, by_index[index].sim_step),
                    play_id=play.play_id,
                    decision_index=index,
                    annotator=name,
                )
                episodes.setdefault(play.episode_id, []).append(annotation.model_dump())
    publish_json(out, episodes)
    return sum(len(annotations) for annotations in episodes.values())


def import_annotations(
    labels: LabelStore,
    manifest: PlayManifest,
    sessions: Path,
    opinions: Opinions,
    file: Path,
    *,
    annotator: str | None = None,
    progress: Progress = silent,
) -> ImportSummary:
    """Add a file's annotations to the label store; what was said before by the same annotator is not said again.

    Args:
        labels: the label store.
        manifest: the iteration's plays.
        sessions: the iteration's sessions folder, which holds their traces.
        opinions: what people say already.
        file: the JSON file.
        annotator: who says all of it; by default whom each entry names, and ``"import"`` where it names nobody.
        progress: told after each episode.

    Returns:
        Counts, and each annotation that fits no record, with the reason; the others are added all the same.

    Raises:
        UserError: the file is missing or not of this form, a trace is missing or damaged.
        LabelStoreUnavailable: the label store does not answer.
    """
    summary = ImportSummary()
    annotations = read_annotations(file)
    found = _Record(manifest, sessions)
    for position, (episode_id, of_episode) in enumerate(annotations.items(), start=1):
        for number, annotation in enumerate(of_episode):
            try:
                play, decision = found.decision_of(episode_id, annotation)
                value = _correction(annotation, decision)
            except ValueError as error:
                summary.refused.append(f"{episode_id}, annotation {number}: {error}")
                continue
            name = annotator or annotation.annotator or "import"
            if _stands(opinions, play.play_id, decision.index, name, value):
                summary.known += 1
                continue
            labels.add_label(
                "correction",
                program=manifest.program,
                iteration=manifest.iteration,
                annotator=name,
                client_key=_client_key(play.play_id, decision.index, value),
                value=value.model_dump(mode="json"),
                session_id=play.session_id,
                episode_play_id=play.play_id,
                decision_index=decision.index,
            )
            summary.added += 1
        progress(position, len(annotations), f"{summary.added} annotations added")
    return summary


def read_annotations(file: Path) -> dict[str, list[Annotation]]:
    """The annotations of a file, by episode.

    Raises:
        UserError: the file is missing or not of this form.
    """
    try:
        return _FILE.validate_json(file.read_bytes())
    except FileNotFoundError:
        raise UserError(f"annotation file '{file}' does not exist", "check the path") from None
    except OSError as error:
        raise UserError(f"annotation file '{file}' cannot be read", str(error.strerror)) from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise UserError(
            f"annotation file '{file}' cannot be read{f' at {place!r}' if place else ''}",
            f"{first['msg'].lower()}: it must be a JSON mapping from episode ids to lists of annotations",
        ) from None


def timestep_of(decision: Decision) -> int:
    """The first frame of the play's episode file that shows what was decided."""
    return -(-decision.sim_step // TICKS_PER_FRAME)


def _progress_at(decisions: list[Decision], step: int) -> float:
    ended = [decision for decision in decisions if decision.end_step <= step and decision.response]
    return max(ended, key=lambda decision: decision.end_step).percent_complete if ended else 0.0


class _Record:
    """The plays' decisions, read once each."""

    def __init__(self, manifest: PlayManifest, sessions: Path) -> None:
        self._plays = manifest.plays
        self._sessions = sessions
        self._decisions: dict[str, list[Decision]] = {}

    def decision_of(self, episode_id: str, annotation: Annotation) -> tuple[CollectedPlay, Decision]:
        """The decision an annotation is about.

        Raises:
            ValueError: there is none, or more than one.
        """
        # Files name episodes by their files, and ours are named after the play.
        plays = [
            play
            for play in self._plays
            if episode_id in (play.episode_id, play.play_id) and annotation.play_id in (None, play.play_id)
        ]
        if not plays:
            raise ValueError("there is no such play")
        action = _action(annotation.original_action, annotation.original_target)
        found = [(play, decision) for play in plays for decision in self._matching(play, annotation, action)]
        if not found:
            raise ValueError(f"the policy did not choose {action} at timestep {annotation.timestep}")
        if len(found) > 1:
            raise ValueError(f"{len(found)} decisions fit: name the play_id")
        return found[0]

    def _matching(self, play: CollectedPlay, annotation: Annotation, action: str) -> Iterator[Decision]:
        if play.play_id not in self._decisions:
            self._decisions[play.play_id] = policy_decisions(read_trace(play.trace(self._sessions)).decisions)
        for decision in self._decisions[play.play_id]:
            if decision.agent != annotation.agent_uid or decision.action != action:
                continue
            if annotation.decision_index in (None, decision.index) and timestep_of(decision) == annotation.timestep:
                yield decision


def _action(tool: str, target: str | None) -> str:
    return str(parse_action(str(Action(tool, (target,) if target else ()))))


def _correction(annotation: Annotation, decision: Decision) -> DecisionCorrection:
    corrected = _action(annotation.corrected_action, annotation.corrected_target)
    if corrected not in decision.admissible:
        raise ValueError(f"{corrected} was not possible at timestep {annotation.timestep}")
    if corrected == decision.action:
        raise ValueError(f"{corrected} is what the policy chose")
    return DecisionCorrection(
        verdict="error",
        original=decision.action,
        corrected=corrected,
        reason=annotation.reason,
        policy_id=decision.policy_id,
        prompt_hash=prompt_hash(decision.prompt),
    )


def _stands(opinions: Opinions, play_id: str, index: int, annotator: str, value: DecisionCorrection) -> bool:
    play = opinions.plays.get(play_id)
    said = play.decisions.get(index, {}).get(annotator) if play is not None else None
    return said is not None and (said.corrected, said.reason) == (value.corrected, value.reason)


def _client_key(play_id: str, index: int, value: DecisionCorrection) -> str:
    body = json.dumps([play_id, index, value.model_dump(mode="json")], sort_keys=True)
    return f"import-{hashlib.sha256(body.encode('utf-8')).hexdigest()[:40]}"
