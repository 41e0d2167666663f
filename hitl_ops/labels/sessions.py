"""Participants and their sessions: who is here, how far they are, and who has gone."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from sqlalchemy import select

from hitl_ops.contracts.errors import UserError
from hitl_ops.labels.checks import check_seconds, check_word
from hitl_ops.labels.database import LabelDatabase
from hitl_ops.labels.errors import SessionEnded
from hitl_ops.labels.rows import STAGES, Participant, SessionRow, Stage
from hitl_ops.labels.schema import ParticipantRecord, SessionRecord
from hitl_ops.labels.tokens import hash_token, is_id


class Sessions(LabelDatabase):
    """The course of people's sittings."""

    def participant(self, participant_id: str) -> Participant:
        """One participant.

        Raises:
            UnknownRecord: there is no such participant.
        """
        with self._transaction() as session:
            record = self._one(session, ParticipantRecord, "participant", participant_id, hold=False)
            return Participant.model_validate(record)

    def record_consent(self, participant_id: str) -> Participant:
        """Keep that the person agreed, and when; the first time stands.

        Raises:
            UnknownRecord: there is no such participant.
        """
        with self._transaction(writes=True) as session:
            record = self._one(session, ParticipantRecord, "participant", participant_id)
            record.consented_at = record.consented_at or self.now()
            return Participant.model_validate(record)

    def tutorial_done(self, participant_id: str) -> Participant:
        """Keep that the person has learned the keys, and when; the first time stands.

        Raises:
            UnknownRecord: there is no such participant.
        """
        with self._transaction(writes=True) as session:
            record = self._one(session, ParticipantRecord, "participant", participant_id)
            record.tutorial_done_at = record.tutorial_done_at or self.now()
            return Participant.model_validate(record)

    def session_by_token(self, token: str) -> SessionRow | None:
        """The session a client's token opens, ended ones included; ``None`` for any other text."""
        query = select(SessionRecord).where(SessionRecord.token_hash == hash_token(token))
        with self._transaction() as session:
            record = session.scalars(query).one_or_none()
            return None if record is None else SessionRow.model_validate(record)

    def session(self, session_id: str) -> SessionRow | None:
        """The session with this id, or ``None``."""
        if not is_id(session_id):
            return None
        with self._transaction() as session:
            record = session.get(SessionRecord, session_id)
            return None if record is None else SessionRow.model_validate(record)

    def set_stage(self, session_id: str, stage: Stage) -> SessionRow:
        """Move a session to another stage; ``ended`` is reached by :meth:`end_session` alone.

        Raises:
            UnknownRecord: there is no such session.
            SessionEnded: it has ended.
            UserError: there is no such stage.
        """
        if stage not in STAGES or stage == "ended":
            raise UserError(f"stage {stage[:20]!r} cannot be set", f"choose one of {', '.join(STAGES[:-1])}")
        with self._transaction(writes=True) as session:
            record = self._one(session, SessionRecord, "session", session_id)
            if record.ended_at is not None:
                raise SessionEnded(session_id)
            record.stage = stage
            return SessionRow.model_validate(record)

    def touch_session(self, session_id: str, *, active_seconds: float = 0.0) -> SessionRow:
        """Keep that the person is connected now, and add to the seconds they spent acting.

        Raises:
            UnknownRecord: there is no such session.
            SessionEnded: it has ended.
            UserError: the seconds are negative or no number.
        """
        check_seconds("active_seconds", active_seconds)
        with self._transaction(writes=True) as session:
            record = self._one(session, SessionRecord, "session", session_id)
            if record.ended_at is not None:
                raise SessionEnded(session_id)
            record.last_seen_at = self.now()
            record.paused_at = None
            record.seconds_active += active_seconds
            return SessionRow.model_validate(record)

    def pause_session(self, session_id: str, *, active_seconds: float = 0.0) -> SessionRow:
        """Keep that nobody is connected since now; repeated, the first moment stands. Nothing happens after its end.

        Raises:
            UnknownRecord: there is no such session.
            UserError: the seconds are negative or no number.
        """
        check_seconds("active_seconds", active_seconds)
        with self._transaction(writes=True) as session:
            record = self._one(session, SessionRecord, "session", session_id)
            if record.ended_at is None:
                if record.paused_at is None:
                    record.paused_at = record.last_seen_at = self.now()
                record.seconds_active += active_seconds
            return SessionRow.model_validate(record)

    def end_session(self, session_id: str, reason: str, *, active_seconds: float = 0.0) -> SessionRow:
        """End a session; the first end stands, with its reason. Finish its open play yourself.

        Args:
            session_id: which one.
            reason: a word: ``done``, ``idle``, ``left``, ``aborted``, …
            active_seconds: what is to be added to the seconds the person spent acting.

        Raises:
            UnknownRecord: there is no such session.
            UserError: the reason is not a word, or the seconds are out of range.
        """
        check_word("the reason", reason)
        check_seconds("active_seconds", active_seconds)
        with self._transaction(writes=True) as session:
            record = self._one(session, SessionRecord, "session", session_id)
            if record.ended_at is None:
                record.stage, record.ended_at, record.end_reason = "ended", self.now(), reason
                record.paused_at = None
                record.seconds_active += active_seconds
            return SessionRow.model_validate(record)

    def open_sessions(self) -> list[SessionRow]:
        """Sessions that have not ended, the oldest first: what a server takes up again when it starts."""
        query = select(SessionRecord).where(SessionRecord.ended_at.is_(None))
        with self._transaction() as session:
            return _rows(session.scalars(query.order_by(SessionRecord.created_at, SessionRecord.id)))

    def stale_sessions(self, silent_for: timedelta) -> list[SessionRow]:
        """Sessions that should have ended: not ended, and nobody was seen for ``silent_for``.

        A pause is when somebody was last seen; so is, after a server was killed, the last :meth:`touch_session`.

        Args:
            silent_for: how long a person may be away (ten minutes).

        Returns:
            The longest silent first.
        """
        query = select(SessionRecord).where(
            SessionRecord.ended_at.is_(None), SessionRecord.last_seen_at <= self.now() - silent_for
        )
        with self._transaction() as session:
            return _rows(session.scalars(query.order_by(SessionRecord.last_seen_at, SessionRecord.id)))


def _rows(records: Iterable[SessionRecord]) -> list[SessionRow]:
    return [SessionRow.model_validate(record) for record in records]
