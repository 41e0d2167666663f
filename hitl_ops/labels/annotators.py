"""Annotators: people who come in by an invitation to look at plays afterwards, and say what was wrong in them."""

from __future__ import annotations

from sqlalchemy import func, select

from hitl_ops.labels.checks import check_iteration, check_seconds, check_text
from hitl_ops.labels.invitations import Invitations
from hitl_ops.labels.rows import Annotator, AnnotatorAdmission, EpisodePlay, Label
from hitl_ops.labels.schema import NAME_LENGTH, AnnotatorRecord, EpisodePlayRecord, LabelRecord, SessionRecord
from hitl_ops.labels.tokens import hash_token, is_id, new_id, new_token


class Annotators(Invitations):
    """Letting annotators in, and knowing them again."""

    def admit_annotator(self, token: str, display_name: str) -> AnnotatorAdmission:
        """Let one annotator in by an invitation made for annotating: count one use, make the annotator.

        Args:
            token: the invitation's secret, as the person sent it.
            display_name: what other annotators are to call them.

        Returns:
            The annotator, and the token that they are known by from now on, told this once.

        Raises:
            InvitationRefused: it is unknown, for something else, revoked, expired or used up (``reason`` says which).
            UserError: the name is empty, too long or holds control characters.
        """
        check_text("the name", display_name, NAME_LENGTH)
        now = self.now()
        with self._transaction(writes=True) as session:
            invitation = self._count_use(session, hash_token(token), "annotate", now)
            own_token = new_token()
            record = AnnotatorRecord(
                id=new_id(),
                token_hash=hash_token(own_token),
                invitation_id=invitation.id,
                display_name=display_name,
                program=invitation.program,
                iteration=invitation.iteration,
                created_at=now,
                last_seen_at=now,
                seconds_active=0.0,
            )
            session.add(record)
            session.flush()
            return AnnotatorAdmission(Annotator.model_validate(record), own_token)

    def annotator_by_token(self, token: str) -> Annotator | None:
        """The annotator whom a token belongs to; ``None`` for any other text."""
        query = select(AnnotatorRecord).where(AnnotatorRecord.token_hash == hash_token(token))
        with self._transaction() as session:
            record = session.scalars(query).one_or_none()
            return None if record is None else Annotator.model_validate(record)

    def annotators(self, program: str, iteration: int | None = None) -> list[Annotator]:
        """Everybody who was let in to annotate, of one iteration where it is named, in the order they came.

        Raises:
            UserError: there is no such program.
        """
        check_iteration(program, iteration or 0)
        query = select(AnnotatorRecord).where(AnnotatorRecord.program == program)
        if iteration is not None:
            query = query.where(AnnotatorRecord.iteration == iteration)
        with self._transaction() as session:
            ordered = session.scalars(query.order_by(AnnotatorRecord.created_at, AnnotatorRecord.id))
            return [Annotator.model_validate(record) for record in ordered]

    def annotator_active(self, annotator_id: str, seconds: float) -> Annotator:
        """Keep that an annotator is here now, and add to the seconds they spent looking.

        Raises:
            UnknownRecord: there is no such annotator.
            UserError: the seconds are negative or no number.
        """
        check_seconds("seconds", seconds)
        with self._transaction(writes=True) as session:
            record = self._one(session, AnnotatorRecord, "annotator", annotator_id)
            record.last_seen_at = self.now()
            record.seconds_active += seconds
            return Annotator.model_validate(record)

    def annotator(self, annotator_id: str) -> Annotator | None:
        """The annotator with this id, or ``None``."""
        if not is_id(annotator_id):
            return None
        with self._transaction() as session:
            record = session.get(AnnotatorRecord, annotator_id)
            return None if record is None else Annotator.model_validate(record)

    def finished_play(self, program: str, iteration: int, play_id: str) -> EpisodePlay | None:
        """One of the plays that :meth:`LabelStore.finished_plays` lists, or ``None``."""
        if not is_id(play_id):
            return None
        query = (
            select(EpisodePlayRecord)
            .join(SessionRecord)
            .where(EpisodePlayRecord.id == play_id, EpisodePlayRecord.finish_id.is_not(None))
            .where(EpisodePlayRecord.tutorial.is_(False), EpisodePlayRecord.withdrawn_at.is_(None))
            .where(SessionRecord.program == program, SessionRecord.iteration == iteration)
        )
        with self._transaction() as session:
            record = session.scalars(query).one_or_none()
            return None if record is None else EpisodePlay.model_validate(record)

    def label_seconds(self, annotator: str) -> float:
        """Seconds of somebody's time that all their labels took, superseded ones included."""
        query = select(func.coalesce(func.sum(LabelRecord.seconds), 0.0)).where(LabelRecord.annotator == annotator)
        with self._transaction() as session:
            return float(session.scalar(query) or 0.0)

    def label_by_key(self, annotator: str, client_key: str) -> Label | None:
        """The label that somebody made with this key, or ``None``: whether a retry is one."""
        query = select(LabelRecord).where(LabelRecord.annotator == annotator, LabelRecord.client_key == client_key)
        with self._transaction() as session:
            record = session.scalars(query).one_or_none()
            return None if record is None else Label.model_validate(record)
