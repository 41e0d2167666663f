"""The log of labels: rows are added and never changed; a later row about the same thing takes the place of an earlier.

"The same thing" is the pair of kind and target. The target is the play (``play/<id>``), a decision in it
(``play/<id>/decision/<index>``), or whatever the caller names: a trace's decision, a pair of clips.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session, aliased

from hitl_ops.contracts.errors import UserError
from hitl_ops.labels.checks import check_iteration, check_number, check_seconds, check_text, check_value
from hitl_ops.labels.database import LABEL_LOCK, LabelDatabase
from hitl_ops.labels.errors import LabelConflict
from hitl_ops.labels.rows import LABEL_KINDS, Label, LabelKind
from hitl_ops.labels.schema import (
    KEY_LENGTH,
    NAME_LENGTH,
    TARGET_LENGTH,
    EpisodePlayRecord,
    LabelRecord,
    SessionRecord,
)

MAX_DECISION_INDEX = 1_000_000


def play_target(episode_play_id: str, decision_index: int | None = None) -> str:
    """The target of a label about a play, or about one decision in it."""
    whole = f"play/{episode_play_id}"
    return whole if decision_index is None else f"{whole}/decision/{decision_index}"


class LabelLog(LabelDatabase):
    """Adding and reading labels."""

    def add_label(
        self,
        kind: LabelKind,
        *,
        program: str,
        iteration: int,
        annotator: str,
        client_key: str,
        value: dict[str, Any],
        seconds: float = 0.0,
        session_id: str | None = None,
        episode_play_id: str | None = None,
        decision_index: int | None = None,
        target: str | None = None,
    ) -> Label:
        """Add a label; when this returns it is durable.

        A repeated call with the same annotator and client key adds nothing and returns the first call's label, so a
        client may retry until it is answered. A label about what an earlier label of the same kind was about, by
        whomever, supersedes it. A ``problem`` about a play marks the play as reported.

        Args:
            kind: what sort of statement it is.
            program: the loop it belongs to.
            iteration: its turn.
            annotator: who says it: a participant's id, or a name.
            client_key: the client's own name for this label, one per annotator.
            value: what was said, plain JSON, up to 256 KiB.
            seconds: seconds of the person's time it took.
            session_id: the sitting in which it was said.
            episode_play_id: the play it is about.
            decision_index: the decision in that play it is about.
            target: what it is about, where that is no play.

        Raises:
            LabelConflict: the client key was used for another label.
            UnknownRecord: there is no such session or play.
            UserError: an argument is out of range, or nothing says what the label is about.
        """
        if kind not in LABEL_KINDS:
            raise UserError(f"label kind {kind[:20]!r} is unknown", f"choose one of {', '.join(LABEL_KINDS)}")
        check_iteration(program, iteration)
        row: dict[str, Any] = {
            "kind": kind,
            "program": program,
            "iteration": iteration,
            "session_id": session_id,
            "episode_play_id": episode_play_id,
            "decision_index": decision_index,
            "target": _target(target, episode_play_id, decision_index),
            "value": check_value(value),
            "annotator": check_text("the annotator", annotator, NAME_LENGTH),
            "client_key": check_text("the client key", client_key, KEY_LENGTH),
        }
        check_seconds("seconds", seconds)
        with self._transaction(writes=True) as session:
            self._in_order(session, LABEL_LOCK)
            earlier = session.scalars(
                select(LabelRecord).where(LabelRecord.annotator == annotator, LabelRecord.client_key == client_key)
            ).one_or_none()
            if earlier is not None:
                return _repeated(earlier, row)
            return self._append(session, row, seconds)

    def _append(self, session: Session, row: dict[str, Any], seconds: float) -> Label:
        if row["session_id"] is not None:
            self._one(session, SessionRecord, "session", row["session_id"], hold=False)
        if row["episode_play_id"] is not None:
            reported = row["kind"] == "problem"
            play = self._one(session, EpisodePlayRecord, "play", row["episode_play_id"], hold=reported)
            if reported:
                play.reported = True
        standing = session.scalar(
            select(func.max(LabelRecord.id)).where(LabelRecord.kind == row["kind"], LabelRecord.target == row["target"])
        )
        record = LabelRecord(**row, seconds=float(seconds), supersedes=standing, created_at=self.now())
        session.add(record)
        session.flush()
        return Label.model_validate(record)

    def label(self, label_id: int) -> Label | None:
        """The label with this number, or ``None``."""
        with self._transaction() as session:
            record = session.get(LabelRecord, label_id)
            return None if record is None else Label.model_validate(record)

    def standing_label(self, kind: LabelKind, target: str) -> Label | None:
        """The last label of a kind about one thing, whose place no other has taken; ``None`` where there is none."""
        newest = (
            select(LabelRecord)
            .where(LabelRecord.kind == kind, LabelRecord.target == target)
            .order_by(LabelRecord.id.desc())
            .limit(1)
        )
        with self._transaction() as session:
            record = session.scalars(newest).one_or_none()
            return None if record is None else Label.model_validate(record)

    def labels(
        self,
        kind: LabelKind | None = None,
        *,
        program: str | None = None,
        iteration: int | None = None,
        session_id: str | None = None,
        episode_play_id: str | None = None,
        annotator: str | None = None,
        after_id: int = 0,
        limit: int | None = None,
        superseded: bool = False,
    ) -> list[Label]:
        """Labels by number, which is the order in which they were acknowledged.

        Args:
            kind: only of this kind; likewise the next five.
            program: only of this loop.
            iteration: only of this turn.
            session_id: only said in this sitting.
            episode_play_id: only about this play.
            annotator: only by this person.
            after_id: only with a greater number: a cursor that misses nothing.
            limit: at most so many.
            superseded: also those whose place a later label has taken.
        """
        query = select(LabelRecord).where(LabelRecord.id > after_id).order_by(LabelRecord.id).limit(limit)
        for column, wanted in (
            (LabelRecord.kind, kind),
            (LabelRecord.program, program),
            (LabelRecord.iteration, iteration),
            (LabelRecord.session_id, session_id),
            (LabelRecord.episode_play_id, episode_play_id),
            (LabelRecord.annotator, annotator),
        ):
            if wanted is not None:
                query = query.where(column == wanted)
        if not superseded:
            later = aliased(LabelRecord)
            query = query.where(~select(later.id).where(later.supersedes == LabelRecord.id).exists())
        with self._transaction() as session:
            return [Label.model_validate(record) for record in session.scalars(query)]


def _target(target: str | None, episode_play_id: str | None, decision_index: int | None) -> str:
    if decision_index is not None:
        check_number("decision_index", decision_index, 0, MAX_DECISION_INDEX)
    if target is not None:
        return check_text("the target", target, TARGET_LENGTH)
    if episode_play_id is None:
        raise UserError("nothing says what the label is about", "give episode_play_id or target")
    return play_target(episode_play_id, decision_index)


def _repeated(earlier: LabelRecord, row: dict[str, Any]) -> Label:
    # Time may be told differently by a retry; what was said may not.
    if any(getattr(earlier, name) != value for name, value in row.items()):
        raise LabelConflict(row["client_key"], earlier.id)
    return Label.model_validate(earlier)
