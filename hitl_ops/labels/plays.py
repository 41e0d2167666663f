"""Plays: each attempt of a person at an episode, from its start to its closed record."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import func, select

from hitl_ops.labels.checks import (
    check_iteration,
    check_number,
    check_record_file,
    check_seconds,
    check_share,
    check_text,
    check_word,
)
from hitl_ops.labels.database import PLAY_LOCK, LabelDatabase
from hitl_ops.labels.errors import PlayNotFinished, PlayStillOpen, SessionEnded
from hitl_ops.labels.rows import EpisodePlay
from hitl_ops.labels.schema import (
    FILE_LENGTH,
    KEY_LENGTH,
    NAME_LENGTH,
    TARGET_LENGTH,
    EpisodePlayRecord,
    SessionRecord,
)
from hitl_ops.labels.tokens import is_id, new_id

MAX_ATTEMPT = 1_000


class Plays(LabelDatabase):
    """Starting, finishing and finding plays."""

    def start_play(self, session_id: str, episode_id: str, attempt: int, *, tutorial: bool = False) -> EpisodePlay:
        """Open a play. A session has one open play at a time.

        Args:
            session_id: who plays.
            episode_id: what is played.
            attempt: 1 for the session's first attempt at this episode.
            tutorial: counted nowhere.

        Raises:
            UnknownRecord: there is no such session.
            SessionEnded: the session has ended.
            PlayStillOpen: its last play is not finished (``play_id`` names it).
            UserError: an argument is out of range.
        """
        check_text("the episode id", episode_id, KEY_LENGTH)
        check_number("attempt", attempt, 1, MAX_ATTEMPT)
        with self._transaction(writes=True) as session:
            sitting = self._one(session, SessionRecord, "session", session_id)  # held: two starts at once queue here
            if sitting.ended_at is not None:
                raise SessionEnded(session_id)
            open_play = session.scalars(
                select(EpisodePlayRecord.id).where(
                    EpisodePlayRecord.session_id == session_id, EpisodePlayRecord.finished_at.is_(None)
                )
            ).one_or_none()
            if open_play is not None:
                raise PlayStillOpen(open_play)
            record = EpisodePlayRecord(
                id=new_id(),
                session_id=session_id,
                episode_id=episode_id,
                attempt=attempt,
                tutorial=tutorial,
                started_at=self.now(),
                ended_by="",
                record_file="",
                state_hash="",
                reported=False,
            )
            session.add(record)
            session.flush()
            return EpisodePlay.model_validate(record)

    def finish_play(
        self,
        play_id: str,
        *,
        percent_complete: float,
        success: bool,
        ended_by: str,
        seconds: float,
        record_file: str = "",
        state_hash: str = "",
    ) -> EpisodePlay:
        """Close a play with its outcome, after its record lies closed on disk. The first outcome stands.

        Args:
            play_id: which play.
            percent_complete: 0 to 1.
            success: whether everything asked for was done.
            ended_by: a word: ``person``, ``time``, ``idle``, ``skip``, ``aborted``, …
            seconds: seconds of play, pauses left out.
            record_file: the closed record, relative to the iteration's sessions folder.
            state_hash: hash of the world's final state.

        Returns:
            The play as it is kept: where it had finished before, with what was said then.

        Raises:
            UnknownRecord: there is no such play.
            UserError: an argument is out of range.
        """
        check_share("percent_complete", percent_complete)
        check_seconds("seconds", seconds)
        check_word("ended_by", ended_by)
        check_record_file(record_file, FILE_LENGTH)
        check_text("the state hash", state_hash, KEY_LENGTH, empty=True)
        with self._transaction(writes=True) as session:
            self._in_order(session, PLAY_LOCK)
            record = self._one(session, EpisodePlayRecord, "play", play_id)
            if record.finished_at is None:
                last = session.scalar(select(func.max(EpisodePlayRecord.finish_id))) or 0
                record.finished_at, record.finish_id = self.now(), last + 1
                record.percent_complete, record.success = percent_complete, bool(success)
                record.ended_by, record.seconds = ended_by, seconds
                record.record_file, record.state_hash = record_file, state_hash
            return EpisodePlay.model_validate(record)

    def withdraw_play(self, play_id: str, reason: str, by: str) -> EpisodePlay:
        """Take a finished play back: it stays in the table, and counts nowhere from now on. The first word stands.

        Args:
            play_id: which play.
            reason: why, in words; may be empty.
            by: who asks for it.

        Raises:
            UnknownRecord: there is no such play.
            PlayNotFinished: it is still open.
            UserError: a text is too long.
        """
        check_text("the reason", reason, TARGET_LENGTH, empty=True)
        check_text("who withdraws it", by, NAME_LENGTH)
        with self._transaction(writes=True) as session:
            record = self._one(session, EpisodePlayRecord, "play", play_id)
            if record.finished_at is None:
                raise PlayNotFinished(play_id)
            if record.withdrawn_at is None:
                record.withdrawn_at, record.withdrawn_by, record.withdrawn_reason = self.now(), by, reason
            return EpisodePlay.model_validate(record)

    def restore_play(self, play_id: str) -> EpisodePlay:
        """Let a withdrawn play count again; one that counts is left as it is.

        Raises:
            UnknownRecord: there is no such play.
        """
        with self._transaction(writes=True) as session:
            record = self._one(session, EpisodePlayRecord, "play", play_id)
            record.withdrawn_at = record.withdrawn_by = record.withdrawn_reason = None
            return EpisodePlay.model_validate(record)

    def play(self, play_id: str) -> EpisodePlay | None:
        """The play with this id, or ``None``."""
        if not is_id(play_id):
            return None
        with self._transaction() as session:
            record = session.get(EpisodePlayRecord, play_id)
            return None if record is None else EpisodePlay.model_validate(record)

    def session_plays(self, session_id: str) -> list[EpisodePlay]:
        """All plays of a session in the order they were started, the tutorial and an open one included."""
        if not is_id(session_id):
            return []
        query = select(EpisodePlayRecord).where(EpisodePlayRecord.session_id == session_id)
        with self._transaction() as session:
            return _rows(session.scalars(query.order_by(EpisodePlayRecord.started_at, EpisodePlayRecord.id)))

    def open_plays(self, *, of_ended_sessions: bool | None = None) -> list[EpisodePlay]:
        """Plays that are not finished, the oldest first.

        Args:
            of_ended_sessions: ``True`` for those whose session has ended (what a kill left to be closed), ``False``
                for those whose session goes on (what a server restores when it starts), ``None`` for both.
        """
        query = select(EpisodePlayRecord).where(EpisodePlayRecord.finished_at.is_(None))
        if of_ended_sessions is not None:
            query = query.join(SessionRecord).where(SessionRecord.ended_at.is_not(None) == of_ended_sessions)
        with self._transaction() as session:
            return _rows(session.scalars(query.order_by(EpisodePlayRecord.started_at, EpisodePlayRecord.id)))

    def finished_plays(
        self, program: str, iteration: int, after_id: int = 0, *, withdrawn: bool = False
    ) -> list[EpisodePlay]:
        """Finished plays of an iteration in the order they finished, the tutorial and withdrawn ones left out.

        Args:
            program: the loop.
            iteration: its turn.
            after_id: only plays whose ``finish_id`` is greater. Numbers grow in commit order: whoever keeps the
                last one seen and asks for what came after it sees every play exactly once.
            withdrawn: those that were withdrawn instead.

        Raises:
            UserError: there is no such program.
        """
        check_iteration(program, iteration)
        query = (
            select(EpisodePlayRecord)
            .join(SessionRecord)
            .where(SessionRecord.program == program, SessionRecord.iteration == iteration)
            .where(EpisodePlayRecord.finish_id > after_id, EpisodePlayRecord.tutorial.is_(False))
            .where(EpisodePlayRecord.withdrawn_at.is_not(None) == withdrawn)
            .order_by(EpisodePlayRecord.finish_id)
        )
        with self._transaction() as session:
            return _rows(session.scalars(query))

    def finished_play_counts(self, program: str) -> dict[int, int]:
        """How many plays of each iteration have finished; iterations without one are absent.

        The tutorial and withdrawn plays are left out.

        Raises:
            UserError: there is no such program.
        """
        check_iteration(program, 0)
        query = (
            select(SessionRecord.iteration, func.count())
            .join(EpisodePlayRecord, EpisodePlayRecord.session_id == SessionRecord.id)
            .where(SessionRecord.program == program)
            .where(EpisodePlayRecord.finish_id.is_not(None), EpisodePlayRecord.tutorial.is_(False))
            .where(EpisodePlayRecord.withdrawn_at.is_(None))
            .group_by(SessionRecord.iteration)
            .order_by(SessionRecord.iteration)
        )
        with self._transaction() as session:
            return {iteration: plays for iteration, plays in session.execute(query)}

    def episode_play_counts(self, program: str, iteration: int) -> dict[str, int]:
        """How often each episode was played in an iteration, open plays included.

        The tutorial and withdrawn plays are left out.

        Raises:
            UserError: there is no such program.
        """
        check_iteration(program, iteration)
        query = (
            select(EpisodePlayRecord.episode_id, func.count())
            .join(SessionRecord)
            .where(SessionRecord.program == program, SessionRecord.iteration == iteration)
            .where(EpisodePlayRecord.tutorial.is_(False), EpisodePlayRecord.withdrawn_at.is_(None))
            .group_by(EpisodePlayRecord.episode_id)
        )
        with self._transaction() as session:
            return {episode_id: plays for episode_id, plays in session.execute(query)}


def _rows(records: Iterable[EpisodePlayRecord]) -> list[EpisodePlay]:
    return [EpisodePlay.model_validate(record) for record in records]
