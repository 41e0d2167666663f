"""What came of what somebody did or said: the policies that a play, a label, a session or a person has a part in.

The other way leads :mod:`hitl_ops.serving.lineage`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, Field

from hitl_ops.contracts.correction import split_label_ids
from hitl_ops.contracts.episode import original_episode_id
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.store import Store
from hitl_ops.samples.provenance import PROVENANCE_FILE, Row, play_of, read_provenance
from hitl_ops.serving.known_policies import ancestors, known_policies

if TYPE_CHECKING:
    from hitl_ops.labels.label_store import LabelStore

Kind = Literal["play", "label", "session", "annotator", "episode"]


class Descendant(BaseModel):
    """A policy that something has a part in."""

    policy_id: str
    iteration: int
    aliases: list[str]
    registered: bool
    samples: list[str] = Field(description="ids of the samples it learned from it; none where it only inherited")
    weight: float = Field(description="sum of their weights")
    inherited_from: str = Field(description="the nearest ancestor that learned from it; '' where it did itself")


def made_from(store: Store, labels: LabelStore | None, program: str, kind: Kind, name: str) -> list[Descendant]:
    """The policies that a play, label, session, annotator or episode has a part in, by iteration.

    A policy whose ancestor learned from it has a part of it, too.

    Args:
        store: holds the policies.
        labels: needed for sessions and annotators, who are known to the label store alone.
        program: whose policies.
        kind: what is named.
        name: its id; a label's number.

    Raises:
        UserError: the id cannot be one, or nobody knows it.
        LabelStoreUnavailable: the label store does not answer.
    """
    known = known_policies(store, program)
    wanted = _Wanted(labels, program, kind, name)
    found: dict[str, list[Row]] = {}
    for policy in known.values():
        if (policy.folder / PROVENANCE_FILE).is_file():
            rows = [row for row in read_provenance(policy.folder).to_pylist() if wanted.has(row)]
            if rows:
                found[policy.policy_id] = rows
    descendants = []
    for policy in known.values():
        own = found.get(policy.policy_id, [])
        origin = ""
        if not own:
            origin = next((one.policy_id for one in ancestors(store, policy)[0] if one.policy_id in found), "")
        if own or origin:
            descendants.append(
                Descendant(
                    policy_id=policy.policy_id,
                    iteration=policy.card.iteration,
                    aliases=list(policy.aliases),
                    registered=policy.registered,
                    samples=[row["sample_id"] for row in own],
                    weight=sum(row["weight"] for row in own),
                    inherited_from=origin,
                )
            )
    return descendants


class _Wanted:
    """Whether a sample comes of what was named."""

    def __init__(self, labels: LabelStore | None, program: str, kind: Kind, name: str) -> None:
        self._kind = kind
        self._name = name
        self._plays: set[str] = set()
        self._labels: set[int] = set()
        if kind == "label":
            if not (name.isascii() and name.isdigit()):
                raise UserError(f"label '{name}' is not a number", "labels are numbered, e.g. 17")
            self._labels = {int(name)}
        elif kind == "play":
            self._plays = {name}
        elif kind in ("session", "annotator"):
            if labels is None:
                raise UserError(f"only the label store knows {kind} '{name}'", "name the store it belongs to")
            if kind == "session":
                self._plays = {play.id for play in labels.session_plays(name)}
            else:
                said = labels.labels(program=program, annotator=name, superseded=True)
                self._labels = {label.id for label in said}
            if not (self._plays or self._labels):
                raise UserError(f"the label store knows no {kind} '{name}' who left anything", "check the id")

    def has(self, row: Row) -> bool:
        if self._kind == "episode":
            return self._name in (row["episode_id"], original_episode_id(row["episode_id"]))
        if self._labels:
            return not self._labels.isdisjoint(split_label_ids(row["label_id"]))
        return play_of(row) in self._plays
