"""Invitations: secret links that let a number of people in, each once, to play or to annotate."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from hitl_ops.contracts.errors import UserError
from hitl_ops.labels.checks import check_iteration, check_moment, check_number, check_text
from hitl_ops.labels.database import LabelDatabase
from hitl_ops.labels.errors import InvitationRefused
from hitl_ops.labels.rows import PURPOSES, Admission, Invitation, Participant, Purpose, SessionRow
from hitl_ops.labels.schema import NAME_LENGTH, InvitationRecord, ParticipantRecord, SessionRecord
from hitl_ops.labels.tokens import hash_token, new_id, new_token

MAX_USES = 1_000_000


class Invitations(LabelDatabase):
    """Making, listing, revoking and using invitations."""

    def create_invitation(
        self,
        program: str,
        iteration: int,
        max_uses: int = 1,
        expires_at: datetime | None = None,
        *,
        purpose: Purpose = "play",
    ) -> tuple[Invitation, str]:
        """Make an invitation.

        Args:
            program: the loop people are asked to work for.
            iteration: its turn.
            max_uses: how many people may come in by it.
            expires_at: from when it lets nobody in; never by default.
            purpose: what they come in for; with a link to play nobody can annotate, nor the other way round.

        Returns:
            The invitation, and its token, which is told this once: only its hash is kept.

        Raises:
            UserError: an argument is out of range.
        """
        check_iteration(program, iteration)
        check_number("max_uses", max_uses, 1, MAX_USES)
        if expires_at is not None:
            check_moment("expires_at", expires_at)
        if purpose not in PURPOSES:
            raise UserError(f"purpose {purpose[:20]!r} is unknown", f"choose one of {', '.join(PURPOSES)}")
        token = new_token()
        with self._transaction(writes=True) as session:
            record = InvitationRecord(
                id=new_id(),
                token_hash=hash_token(token),
                program=program,
                iteration=iteration,
                max_uses=max_uses,
                uses=0,
                created_at=self.now(),
                expires_at=expires_at,
                revoked=False,
                purpose=purpose,
            )
            session.add(record)
            session.flush()
            return Invitation.model_validate(record), token

    def invitations(
        self, program: str | None = None, iteration: int | None = None, purpose: Purpose | None = None
    ) -> list[Invitation]:
        """All invitations, the newest first, of one program, iteration or purpose where named."""
        query = select(InvitationRecord).order_by(InvitationRecord.created_at.desc(), InvitationRecord.id)
        if program is not None:
            query = query.where(InvitationRecord.program == program)
        if iteration is not None:
            query = query.where(InvitationRecord.iteration == iteration)
        if purpose is not None:
            query = query.where(InvitationRecord.purpose == purpose)
        with self._transaction() as session:
            return [Invitation.model_validate(record) for record in session.scalars(query)]

    def revoke_invitation(self, invitation_id: str) -> Invitation:
        """Let nobody in by it any more; who is in stays in. Harmless to repeat.

        Raises:
            UnknownRecord: there is no such invitation.
        """
        with self._transaction(writes=True) as session:
            record = self._one(session, InvitationRecord, "invitation", invitation_id)
            record.revoked = True
            return Invitation.model_validate(record)

    def use_invitation(self, token: str, *, display_name: str = "", iteration: int | None = None) -> Admission:
        """Let one person in to play: count one use, make the participant and their session.

        The count and its limit are one statement, so any number of processes together let in exactly as many people
        as the invitation is for. A use whose person could not be made is not counted.

        Args:
            token: the invitation's secret, as the person sent it.
            display_name: what the person wants to be called.
            iteration: the iteration they are to play for; by default the one they were invited to.

        Returns:
            The participant, the session (at stage ``consent``) and the session's token, told this once.

        Raises:
            InvitationRefused: it is unknown, for something else, revoked, expired or used up (``reason`` says which).
            UserError: the name is too long or holds control characters, or the iteration is out of range.
        """
        check_text("the name", display_name, NAME_LENGTH, empty=True)
        now = self.now()
        with self._transaction(writes=True) as session:
            invitation = self._count_use(session, hash_token(token), "play", now)
            if iteration is not None:
                check_iteration(invitation.program, iteration)
            participant = ParticipantRecord(
                id=new_id(), invitation_id=invitation.id, display_name=display_name, created_at=now
            )
            session.add(participant)
            session.flush()
            session_token = new_token()
            sitting = SessionRecord(
                id=new_id(),
                token_hash=hash_token(session_token),
                participant_id=participant.id,
                program=invitation.program,
                iteration=invitation.iteration if iteration is None else iteration,
                stage="consent",
                created_at=now,
                last_seen_at=now,
                end_reason="",
                seconds_active=0.0,
            )
            session.add(sitting)
            session.flush()
            return Admission(Participant.model_validate(participant), SessionRow.model_validate(sitting), session_token)

    def _count_use(self, session: Session, token_hash: str, purpose: Purpose, now: datetime) -> InvitationRecord:
        """Count one use of an invitation.

        Raises:
            InvitationRefused: it lets nobody in, or not for this purpose.
        """
        this = InvitationRecord
        counted = session.scalars(
            update(this)
            .where(this.token_hash == token_hash, this.purpose == purpose)
            .where(this.uses < this.max_uses, this.revoked.is_(False))
            .where(this.expires_at.is_(None) | (this.expires_at > now))
            .values(uses=this.uses + 1)
            .returning(this),
            execution_options={"synchronize_session": False},
        ).one_or_none()
        if counted is not None:
            return counted
        refused = session.scalars(select(this).where(this.token_hash == token_hash)).one_or_none()
        if refused is None:
            raise InvitationRefused("unknown")
        if refused.purpose != purpose:
            raise InvitationRefused("other_purpose")
        if refused.revoked:
            raise InvitationRefused("revoked")
        if refused.expires_at is not None and refused.expires_at <= now:
            raise InvitationRefused("expired")
        raise InvitationRefused("used_up")
