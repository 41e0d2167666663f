"""The tables, as SQLAlchemy sees them. What changes here needs a step in ``migrations/versions``."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    DateTime,
    Dialect,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    TypeDecorator,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from hitl_ops.labels.rows import LABEL_KINDS, STAGES

REVISION = "0003"
"""The newest step of ``migrations/versions``: what a database must be at for this code to use it."""

ID_LENGTH = 16
NAME_LENGTH = 80
KEY_LENGTH = 128
TARGET_LENGTH = 200
FILE_LENGTH = 255


class UtcDateTime(TypeDecorator[datetime]):
    """A moment: goes in and comes out with its zone, on SQLite too, which keeps none."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Convert to UTC; a time without a zone is a mistake of the caller's."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a zone says nothing")
        moment = value.astimezone(UTC)
        return moment.replace(tzinfo=None) if dialect.name == "sqlite" else moment

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Give the moment its zone."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


# SQLite numbers rows by itself only in a column of exactly the type INTEGER; it holds 64 bits all the same.
RowNumber = BigInteger().with_variant(Integer(), "sqlite")


def _one_of(column: str, names: tuple[str, ...]) -> str:
    return f"{column} IN ({', '.join(repr(name) for name in names)})"


class Base(DeclarativeBase):
    """All tables; constraints get names by rule, so that a later step can speak of them on either engine."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class InvitationRecord(Base):
    """A link that lets people in."""

    __tablename__ = "invitations"
    __table_args__ = (
        CheckConstraint("max_uses >= 1", name="max_uses"),
        CheckConstraint("uses >= 0 AND uses <= max_uses", name="uses"),
        CheckConstraint("iteration >= 0", name="iteration"),
    )

    id: Mapped[str] = mapped_column(String(ID_LENGTH), primary_key=True)
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    program: Mapped[str] = mapped_column(String(32))
    iteration: Mapped[int] = mapped_column(Integer())
    max_uses: Mapped[int] = mapped_column(Integer())
    uses: Mapped[int] = mapped_column(Integer())
    created_at: Mapped[datetime] = mapped_column(UtcDateTime())
    expires_at: Mapped[datetime | None] = mapped_column(UtcDateTime())
    revoked: Mapped[bool]
    purpose: Mapped[str] = mapped_column(String(16), server_default="play")


class AnnotatorRecord(Base):
    """A person who looks at plays afterwards."""

    __tablename__ = "annotators"
    __table_args__ = (
        CheckConstraint("seconds_active >= 0", name="seconds_active"),
        Index(None, "program", "iteration"),
    )

    id: Mapped[str] = mapped_column(String(ID_LENGTH), primary_key=True)
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    invitation_id: Mapped[str] = mapped_column(ForeignKey("invitations.id"), index=True)
    display_name: Mapped[str] = mapped_column(String(NAME_LENGTH))
    program: Mapped[str] = mapped_column(String(32))
    iteration: Mapped[int] = mapped_column(Integer())
    created_at: Mapped[datetime] = mapped_column(UtcDateTime())
    last_seen_at: Mapped[datetime] = mapped_column(UtcDateTime())
    seconds_active: Mapped[float] = mapped_column(Double())


class ParticipantRecord(Base):
    """A person."""

    __tablename__ = "participants"

    id: Mapped[str] = mapped_column(String(ID_LENGTH), primary_key=True)
    invitation_id: Mapped[str] = mapped_column(ForeignKey("invitations.id"), index=True)
    display_name: Mapped[str] = mapped_column(String(NAME_LENGTH))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime())
    consented_at: Mapped[datetime | None] = mapped_column(UtcDateTime())
    tutorial_done_at: Mapped[datetime | None] = mapped_column(UtcDateTime())


class SessionRecord(Base):
    """A person's sitting."""

    __tablename__ = "sessions"
    __table_args__ = (
        CheckConstraint(_one_of("stage", STAGES), name="stage"),
        CheckConstraint("(stage = 'ended') = (ended_at IS NOT NULL)", name="ended"),
        CheckConstraint("seconds_active >= 0", name="seconds_active"),
        Index(None, "program", "iteration"),
        Index(None, "ended_at", "last_seen_at"),
    )

    id: Mapped[str] = mapped_column(String(ID_LENGTH), primary_key=True)
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    participant_id: Mapped[str] = mapped_column(ForeignKey("participants.id"), index=True)
    program: Mapped[str] = mapped_column(String(32))
    iteration: Mapped[int] = mapped_column(Integer())
    stage: Mapped[str] = mapped_column(String(16))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime())
    last_seen_at: Mapped[datetime] = mapped_column(UtcDateTime())
    paused_at: Mapped[datetime | None] = mapped_column(UtcDateTime())
    ended_at: Mapped[datetime | None] = mapped_column(UtcDateTime())
    end_reason: Mapped[str] = mapped_column(String(32))
    seconds_active: Mapped[float] = mapped_column(Double())


class EpisodePlayRecord(Base):
    """One attempt at one episode."""

    __tablename__ = "episode_plays"
    __table_args__ = (
        CheckConstraint("attempt >= 1", name="attempt"),
        CheckConstraint("percent_complete >= 0 AND percent_complete <= 1", name="percent_complete"),
        CheckConstraint("seconds >= 0", name="seconds"),
        CheckConstraint(
            "(finished_at IS NULL) = (finish_id IS NULL) AND (finished_at IS NULL) = (success IS NULL)"
            " AND (finished_at IS NULL) = (percent_complete IS NULL) AND (finished_at IS NULL) = (seconds IS NULL)",
            name="finished",
        ),
        # A person plays one thing at a time.
        Index(
            "uq_episode_plays_open",
            "session_id",
            unique=True,
            sqlite_where=text("finished_at IS NULL"),
            postgresql_where=text("finished_at IS NULL"),
        ),
    )

    id: Mapped[str] = mapped_column(String(ID_LENGTH), primary_key=True)
    session_id: Mapped[str] = mapped_column(ForeignKey("sessions.id"), index=True)
    episode_id: Mapped[str] = mapped_column(String(KEY_LENGTH), index=True)
    attempt: Mapped[int] = mapped_column(Integer())
    tutorial: Mapped[bool]
    started_at: Mapped[datetime] = mapped_column(UtcDateTime())
    finished_at: Mapped[datetime | None] = mapped_column(UtcDateTime())
    finish_id: Mapped[int | None] = mapped_column(BigInteger(), unique=True)
    percent_complete: Mapped[float | None] = mapped_column(Double())
    success: Mapped[bool | None]
    ended_by: Mapped[str] = mapped_column(String(32))
    seconds: Mapped[float | None] = mapped_column(Double())
    record_file: Mapped[str] = mapped_column(String(FILE_LENGTH))
    state_hash: Mapped[str] = mapped_column(String(KEY_LENGTH))
    reported: Mapped[bool]
    withdrawn_at: Mapped[datetime | None] = mapped_column(UtcDateTime())
    withdrawn_by: Mapped[str | None] = mapped_column(String(NAME_LENGTH))
    withdrawn_reason: Mapped[str | None] = mapped_column(String(TARGET_LENGTH))


class LabelRecord(Base):
    """What a person said. Triggers (in the migration) refuse every change and every deletion."""

    __tablename__ = "labels"
    __table_args__ = (
        CheckConstraint(_one_of("kind", LABEL_KINDS), name="kind"),
        CheckConstraint("seconds >= 0", name="seconds"),
        CheckConstraint("decision_index >= 0", name="decision_index"),
        UniqueConstraint("annotator", "client_key"),
        Index(None, "kind", "target"),
        Index(None, "program", "iteration", "kind"),
        # Without AUTOINCREMENT, SQLite may give a number out twice.
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(RowNumber, primary_key=True, autoincrement=True)
    kind: Mapped[str] = mapped_column(String(16))
    program: Mapped[str] = mapped_column(String(32))
    iteration: Mapped[int] = mapped_column(Integer())
    session_id: Mapped[str | None] = mapped_column(ForeignKey("sessions.id"), index=True)
    episode_play_id: Mapped[str | None] = mapped_column(ForeignKey("episode_plays.id"), index=True)
    decision_index: Mapped[int | None] = mapped_column(Integer())
    target: Mapped[str] = mapped_column(String(TARGET_LENGTH))
    value: Mapped[dict[str, Any]] = mapped_column(JSON())
    annotator: Mapped[str] = mapped_column(String(NAME_LENGTH))
    seconds: Mapped[float] = mapped_column(Double())
    client_key: Mapped[str] = mapped_column(String(KEY_LENGTH))
    # Unique: two labels never take the place of the same one, so the standing label is always one.
    supersedes: Mapped[int | None] = mapped_column(ForeignKey("labels.id"), unique=True)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime())
