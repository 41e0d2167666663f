"""Where a policy comes from.

The policies it descends from, the samples each of them learned, and, of those that people made, the labels,
annotators, plays, sessions and participants: read from the provenance that is frozen with every policy, and asked of
the label store. The other way leads :mod:`hitl_ops.serving.descent`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING

from pydantic import BaseModel, Field

from hitl_ops.contracts.correction import split_label_ids
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.store import Store
from hitl_ops.samples.provenance import PROVENANCE_FILE, Row, play_of, read_provenance
from hitl_ops.serving.known_policies import KnownPolicy, ancestors, find_policy
from hitl_ops.serving.policy_alias import evaluation_of

if TYPE_CHECKING:
    from hitl_ops.labels.label_store import LabelStore
    from hitl_ops.labels.rows import EpisodePlay, Label, SessionRow


class PolicyStep(BaseModel):
    """A policy on the way from the base model."""

    policy_id: str
    iteration: int
    parent: str = Field(description="policy id, or the base model")
    aliases: list[str] = Field(description="what the registry calls it at this moment")
    registered: bool
    samples: int | None = Field(description="samples it learned from; None where its provenance was not kept")
    samples_hash: str
    code_version: str
    success: float | None = Field(description="on the primary split; None where it was not evaluated")
    folder: str


class SampleGroup(BaseModel):
    """Samples of one source and iteration that one of the policies learned from."""

    policy_id: str
    source: str
    iteration: int = Field(description="the iteration they were made in")
    samples: int
    weight: float = Field(description="sum of their weights")
    episodes: int
    plays: int
    labels: int


class LabelMade(BaseModel):
    """A label that made samples."""

    label_id: int
    found: bool = Field(description="the label store still has it")
    standing: bool = Field(description="its annotator has said nothing else of the same decision since")
    annotator: str
    iteration: int
    play_id: str
    decision: int | None
    original: str
    corrected: str
    reason: str
    seconds: float
    samples: list[str] = Field(description="ids of the samples it made")
    policies: list[str] = Field(description="policies that learned from them, the nearest first")


class PlayUsed(BaseModel):
    """A play that samples were cut from."""

    play_id: str
    found: bool
    withdrawn: bool
    session_id: str
    participant_id: str
    episode_id: str
    iteration: int
    success: bool | None
    percent_complete: float | None
    seconds: float
    samples: dict[str, int] = Field(description="source → samples cut from it")
    labels: list[int] = Field(description="labels about it that made samples")
    policies: list[str]


class SessionUsed(BaseModel):
    """A sitting of which at least one play taught something."""

    session_id: str
    found: bool
    participant_id: str
    iteration: int
    seconds: float = Field(description="seconds the person spent acting, plays that taught nothing included")
    plays: int = Field(description="plays that samples were cut from")


class AnnotatorUsed(BaseModel):
    """A person whose labels made samples."""

    annotator: str
    display_name: str
    labels: int
    seconds: float = Field(description="seconds those labels took")
    samples: int


class Lineage(BaseModel):
    """Everything a policy comes from."""

    program: str
    policy_id: str
    base: str = Field(description="what the oldest known ancestor started from: a base model, or a policy that is gone")
    chain: list[PolicyStep] = Field(description="the policy, then its parent, and so on")
    groups: list[SampleGroup]
    labels: list[LabelMade]
    annotators: list[AnnotatorUsed]
    plays: list[PlayUsed]
    sessions: list[SessionUsed]
    participants: list[str]
    episodes: dict[str, dict[str, int]] = Field(description="episode id → source → samples")
    human_seconds: float = Field(description="seconds of play and of labelling that went into it")
    samples: int = Field(description="different samples of all policies of the chain together")
    provenance: dict[str, str] = Field(description="policy id → the file with a row for every sample")


def lineage_of(store: Store, labels: LabelStore | None, program: str, name: str) -> Lineage:
    """Everything a policy comes from.

    Args:
        store: holds the policies.
        labels: knows labels, plays and people; None leaves what only it knows empty.
        program: whose policy.
        name: policy id, alias or iteration.

    Raises:
        UserError: there is no such policy, its provenance was not kept or is damaged.
        LabelStoreUnavailable: the label store does not answer.
    """
    policy = find_policy(store, program, name)
    chain, base = ancestors(store, policy)
    policies = [policy, *chain]
    rows: dict[str, list[Row]] = {}
    for one in policies:
        # An ancestor of an earlier version may have none; the policy asked for must tell.
        if one is policy or (one.folder / PROVENANCE_FILE).is_file():
            rows[one.policy_id] = read_provenance(one.folder).to_pylist()
    people = _People(labels)
    made = _labels(rows, people, program)
    plays = _plays(rows, people)
    episodes = _episodes(rows)
    return Lineage(
        program=program,
        policy_id=policy.policy_id,
        base=base,
        chain=[_step(store, one, rows.get(one.policy_id)) for one in policies],
        groups=[group for one, own in rows.items() for group in _groups(one, own)],
        labels=made,
        annotators=_annotators(made, people),
        plays=plays,
        sessions=_sessions(plays, people),
        participants=sorted({play.participant_id for play in plays if play.participant_id}),
        episodes=episodes,
        human_seconds=sum(label.seconds for label in made) + sum(play.seconds for play in plays),
        samples=sum(sum(counts.values()) for counts in episodes.values()),
        provenance={one.policy_id: str(one.folder / PROVENANCE_FILE) for one in policies if one.policy_id in rows},
    )


class _People:
    """The label store's memory, each thing asked once; empty without a store."""

    def __init__(self, labels: LabelStore | None) -> None:
        self._store = labels
        self._sessions: dict[str, SessionRow | None] = {}
        self._plays: dict[str, EpisodePlay | None] = {}

    def labels(self, program: str, iterations: Iterable[int]) -> dict[int, Label]:
        if self._store is None:
            return {}
        found: dict[int, Label] = {}
        for iteration in sorted(set(iterations)):
            said = self._store.labels(program=program, iteration=iteration, superseded=True)
            found.update((label.id, label) for label in said)
        return found

    def play(self, play_id: str) -> EpisodePlay | None:
        if self._store is not None and play_id not in self._plays:
            self._plays[play_id] = self._store.play(play_id)
        return self._plays.get(play_id)

    def session(self, session_id: str) -> SessionRow | None:
        if self._store is not None and session_id not in self._sessions:
            self._sessions[session_id] = self._store.session(session_id)
        return self._sessions.get(session_id)

    def display_name(self, annotator: str) -> str:
        known = None if self._store is None else self._store.annotator(annotator)
        return "" if known is None else known.display_name


def _step(store: Store, policy: KnownPolicy, rows: list[Row] | None) -> PolicyStep:
    card = policy.card
    try:
        evaluated = evaluation_of(store, card.program, card.iteration, policy.policy_id)
        name = next(name for name, found in evaluated.summary.policy_ids.items() if found == policy.policy_id)
        success = evaluated.summary.primary(name).success.mean
    except UserError:
        success = None  # not evaluated, or not yet: the lineage holds all the same
    return PolicyStep(
        policy_id=policy.policy_id,
        iteration=card.iteration,
        parent=card.parent,
        aliases=list(policy.aliases),
        registered=policy.registered,
        samples=None if rows is None else len(rows),
        samples_hash=card.samples_hash,
        code_version=card.code_version,
        success=success,
        folder=str(policy.folder),
    )


def _groups(policy_id: str, rows: list[Row]) -> list[SampleGroup]:
    by_group: dict[tuple[int, str], list[Row]] = defaultdict(list)
    for row in rows:
        by_group[row["iteration"], row["source"]].append(row)
    return [
        SampleGroup(
            policy_id=policy_id,
            source=source,
            iteration=iteration,
            samples=len(own),
            weight=sum(row["weight"] for row in own),
            episodes=len({row["episode_id"] for row in own}),
            plays=len({play_of(row) for row in own} - {""}),
            labels=len({label for row in own for label in split_label_ids(row["label_id"])}),
        )
        for (iteration, source), own in sorted(by_group.items())
    ]


def _labels(rows: dict[str, list[Row]], people: _People, program: str) -> list[LabelMade]:
    samples: dict[int, dict[str, Row]] = defaultdict(dict)
    policies: dict[int, dict[str, None]] = defaultdict(dict)
    for policy_id, own in rows.items():
        for row in own:
            for label_id in split_label_ids(row["label_id"]):
                samples[label_id][row["sample_id"]] = row
                policies[label_id][policy_id] = None
    iterations = {row["iteration"] for made in samples.values() for row in made.values()}
    said = people.labels(program, iterations)
    last: dict[tuple[str, str, str], int] = {}
    for one in said.values():
        about = (one.kind, one.target, one.annotator)
        last[about] = max(last.get(about, 0), one.id)
    made = []
    for label_id in sorted(samples):
        row = next(iter(samples[label_id].values()))
        label = said.get(label_id)
        value = {} if label is None else label.value
        made.append(
            LabelMade(
                label_id=label_id,
                found=label is not None,
                standing=label is not None and last[label.kind, label.target, label.annotator] == label_id,
                annotator="" if label is None else label.annotator,
                iteration=row["iteration"],
                play_id=play_of(row),
                decision=row["step"] if label is None else label.decision_index,
                original=str(value.get("original", "")),
                corrected=str(value.get("corrected", "")),
                reason=str(value.get("reason", "")),
                seconds=0.0 if label is None else label.seconds,
                samples=list(samples[label_id]),
                policies=list(policies[label_id]),
            )
        )
    return made


def _annotators(labels: list[LabelMade], people: _People) -> list[AnnotatorUsed]:
    by_annotator: dict[str, list[LabelMade]] = defaultdict(list)
    for label in labels:
        by_annotator[label.annotator].append(label)
    return [
        AnnotatorUsed(
            annotator=annotator,
            display_name=people.display_name(annotator),
            labels=len(own),
            seconds=sum(label.seconds for label in own),
            samples=len({sample for label in own for sample in label.samples}),
        )
        for annotator, own in sorted(by_annotator.items())
        if annotator
    ]


def _plays(rows: dict[str, list[Row]], people: _People) -> list[PlayUsed]:
    samples: dict[str, dict[str, Row]] = defaultdict(dict)
    policies: dict[str, dict[str, None]] = defaultdict(dict)
    for policy_id, own in rows.items():
        for row in own:
            if play_id := play_of(row):
                samples[play_id][row["sample_id"]] = row
                policies[play_id][policy_id] = None
    used = []
    for play_id, own_rows in sorted(samples.items()):
        row = next(iter(own_rows.values()))
        play = people.play(play_id)
        session = None if play is None else people.session(play.session_id)
        used.append(
            PlayUsed(
                play_id=play_id,
                found=play is not None,
                withdrawn=play is not None and play.withdrawn_at is not None,
                session_id="" if play is None else play.session_id,
                participant_id="" if session is None else session.participant_id,
                episode_id=row["episode_id"],
                iteration=row["iteration"],
                success=None if play is None else play.success,
                percent_complete=None if play is None else play.percent_complete,
                seconds=0.0 if play is None else play.seconds or 0.0,
                samples=dict(sorted(Counter(one["source"] for one in own_rows.values()).items())),
                labels=sorted({label for one in own_rows.values() for label in split_label_ids(one["label_id"])}),
                policies=list(policies[play_id]),
            )
        )
    return used


def _sessions(plays: list[PlayUsed], people: _People) -> list[SessionUsed]:
    by_session: dict[str, list[PlayUsed]] = defaultdict(list)
    for play in plays:
        if play.session_id:
            by_session[play.session_id].append(play)
    used = []
    for session_id, own in sorted(by_session.items()):
        session = people.session(session_id)
        used.append(
            SessionUsed(
                session_id=session_id,
                found=session is not None,
                participant_id=own[0].participant_id,
                iteration=own[0].iteration,
                seconds=0.0 if session is None else session.seconds_active,
                plays=len(own),
            )
        )
    return used


def _episodes(rows: dict[str, list[Row]]) -> dict[str, dict[str, int]]:
    """Every sample once, even where several policies of the chain learned from it."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    seen: set[tuple[str, str]] = set()
    for own in rows.values():
        for row in own:
            # The mix of a later iteration puts the iteration before an id; the sample is the same.
            key = (row["sample_id"], row["source"])
            if key not in seen:
                seen.add(key)
                found[row["episode_id"]][row["source"]] += 1
    return {episode: dict(sorted(counts.items())) for episode, counts in sorted(found.items())}
