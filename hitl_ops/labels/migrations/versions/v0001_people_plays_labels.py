"""People, what they play, and what they say."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_MOMENT = sa.DateTime(timezone=True)
_ROW_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_STAGES = "('consent', 'tutorial', 'lobby', 'episode', 'feedback', 'thanks', 'ended')"
_KINDS = "('correction', 'verdict', 'preference', 'progress', 'feedback', 'problem')"


def upgrade() -> None:
    """Make all tables, and forbid changing labels."""
    _people()
    _play()
    _labels()
    if op.get_bind().dialect.name == "sqlite":
        _forbid_change_on_sqlite()
    else:
        _forbid_change_on_postgresql()


def _people() -> None:
    op.create_table(
        "invitations",
        sa.Column("id", sa.String(16), nullable=False),
        sa.Column("token_hash", sa.String(64), nullable=False),
        sa.Column("program", sa.String(32), nullable=False),
        sa.Column("iteration", sa.Integer(), nullable=False),
        sa.Column("max_uses", sa.Integer(), nullable=False),
        sa.Column("uses", sa.Integer(), nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("expires_at", _MOMENT, nullable=True),
        sa.Column("revoked", sa.Boolean(), nullable=False),
        sa.CheckConstraint("max_uses >= 1", name=op.f("ck_invitations_max_uses")),
        sa.CheckConstraint("uses >= 0 AND uses <= max_uses", name=op.f("ck_invitations_uses")),
        sa.CheckConstraint("iteration >= 0", name=op.f("ck_invitations_iteration")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_invitations")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_invitations_token_hash")),
    )
    op.create_table(
        "participants",
        sa.Column("id", sa.String(16), nullable=False),
        sa.Column("invitation_id", sa.String(16), nullable=False),
        sa.Column("display_name", sa.String(80), nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("consented_at", _MOMENT, nullable=True),
        sa.Column("tutorial_done_at", _MOMENT, nullable=True),
        sa.ForeignKeyConstraint(["invitation_id"], ["invitations.id"], name=op.f("fk_participants_invitation_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_participants")),
    )
    op.create_index(op.f("ix_participants_invitation_id"), "participants", ["invitation_id"])


def _play() -> None:
    op.create_table(
        "sessions",
        sa.Column("id", sa.String(16), nullable=False),
        sa.Column("token_hash", sa.String(64), nullable=False),
        sa.Column("participant_id", sa.String(16), nullable=False),
        sa.Column("program", sa.String(32), nullable=False),
        sa.Column("iteration", sa.Integer(), nullable=False),
        sa.Column("stage", sa.String(16), nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("last_seen_at", _MOMENT, nullable=False),
        sa.Column("paused_at", _MOMENT, nullable=True),
        sa.Column("ended_at", _MOMENT, nullable=True),
        sa.Column("end_reason", sa.String(32), nullable=False),
        sa.Column("seconds_active", sa.Double(), nullable=False),
        sa.CheckConstraint(f"stage IN {_STAGES}", name=op.f("ck_sessions_stage")),
        sa.CheckConstraint("(stage = 'ended') = (ended_at IS NOT NULL)", name=op.f("ck_sessions_ended")),
        sa.CheckConstraint("seconds_active >= 0", name=op.f("ck_sessions_seconds_active")),
        sa.ForeignKeyConstraint(["participant_id"], ["participants.id"], name=op.f("fk_sessions_participant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sessions")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_sessions_token_hash")),
    )
    op.create_index(op.f("ix_sessions_participant_id"), "sessions", ["participant_id"])
    op.create_index(op.f("ix_sessions_program_iteration"), "sessions", ["program", "iteration"])
    op.create_index(op.f("ix_sessions_ended_at_last_seen_at"), "sessions", ["ended_at", "last_seen_at"])
    op.create_table(
        "episode_plays",
        sa.Column("id", sa.String(16), nullable=False),
        sa.Column("session_id", sa.String(16), nullable=False),
        sa.Column("episode_id", sa.String(128), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("tutorial", sa.Boolean(), nullable=False),
        sa.Column("started_at", _MOMENT, nullable=False),
        sa.Column("finished_at", _MOMENT, nullable=True),
        sa.Column("finish_id", sa.BigInteger(), nullable=True),
        sa.Column("percent_complete", sa.Double(), nullable=True),
        sa.Column("success", sa.Boolean(), nullable=True),
        sa.Column("ended_by", sa.String(32), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=True),
        sa.Column("record_file", sa.String(255), nullable=False),
        sa.Column("state_hash", sa.String(128), nullable=False),
        sa.Column("reported", sa.Boolean(), nullable=False),
        sa.CheckConstraint("attempt >= 1", name=op.f("ck_episode_plays_attempt")),
        sa.CheckConstraint(
            "percent_complete >= 0 AND percent_complete <= 1", name=op.f("ck_episode_plays_percent_complete")
        ),
        sa.CheckConstraint("seconds >= 0", name=op.f("ck_episode_plays_seconds")),
        sa.CheckConstraint(
            "(finished_at IS NULL) = (finish_id IS NULL) AND (finished_at IS NULL) = (success IS NULL)"
            " AND (finished_at IS NULL) = (percent_complete IS NULL) AND (finished_at IS NULL) = (seconds IS NULL)",
            name=op.f("ck_episode_plays_finished"),
        ),
        sa.ForeignKeyConstraint(["session_id"], ["sessions.id"], name=op.f("fk_episode_plays_session_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_episode_plays")),
        sa.UniqueConstraint("finish_id", name=op.f("uq_episode_plays_finish_id")),
    )
    op.create_index(op.f("ix_episode_plays_session_id"), "episode_plays", ["session_id"])
    op.create_index(op.f("ix_episode_plays_episode_id"), "episode_plays", ["episode_id"])
    op.create_index(
        "uq_episode_plays_open",
        "episode_plays",
        ["session_id"],
        unique=True,
        sqlite_where=sa.text("finished_at IS NULL"),
        postgresql_where=sa.text("finished_at IS NULL"),
    )


def _labels() -> None:
    op.create_table(
        "labels",
        sa.Column("id", _ROW_NUMBER, autoincrement=True, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("program", sa.String(32), nullable=False),
        sa.Column("iteration", sa.Integer(), nullable=False),
        sa.Column("session_id", sa.String(16), nullable=True),
        sa.Column("episode_play_id", sa.String(16), nullable=True),
        sa.Column("decision_index", sa.Integer(), nullable=True),
        sa.Column("target", sa.String(200), nullable=False),
        sa.Column("value", sa.JSON(), nullable=False),
        sa.Column("annotator", sa.String(80), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("client_key", sa.String(128), nullable=False),
        sa.Column("supersedes", _ROW_NUMBER, nullable=True),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.CheckConstraint(f"kind IN {_KINDS}", name=op.f("ck_labels_kind")),
        sa.CheckConstraint("seconds >= 0", name=op.f("ck_labels_seconds")),
        sa.CheckConstraint("decision_index >= 0", name=op.f("ck_labels_decision_index")),
        sa.ForeignKeyConstraint(["session_id"], ["sessions.id"], name=op.f("fk_labels_session_id")),
        sa.ForeignKeyConstraint(["episode_play_id"], ["episode_plays.id"], name=op.f("fk_labels_episode_play_id")),
        sa.ForeignKeyConstraint(["supersedes"], ["labels.id"], name=op.f("fk_labels_supersedes")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_labels")),
        sa.UniqueConstraint("annotator", "client_key", name=op.f("uq_labels_annotator_client_key")),
        sa.UniqueConstraint("supersedes", name=op.f("uq_labels_supersedes")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_labels_session_id"), "labels", ["session_id"])
    op.create_index(op.f("ix_labels_episode_play_id"), "labels", ["episode_play_id"])
    op.create_index(op.f("ix_labels_kind_target"), "labels", ["kind", "target"])
    op.create_index(op.f("ix_labels_program_iteration_kind"), "labels", ["program", "iteration", "kind"])


def _forbid_change_on_sqlite() -> None:
    for verb in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER labels_no_{verb.lower()} BEFORE {verb} ON labels"
            " BEGIN SELECT RAISE(ABORT, 'labels are append-only'); END"
        )
    # INSERT OR REPLACE would delete the old row without asking the trigger above.
    op.execute(
        "CREATE TRIGGER labels_no_replace BEFORE INSERT ON labels"
        " WHEN EXISTS (SELECT 1 FROM labels WHERE id = NEW.id OR supersedes = NEW.supersedes"
        " OR (annotator = NEW.annotator AND client_key = NEW.client_key))"
        " BEGIN SELECT RAISE(ABORT, 'labels are append-only'); END"
    )


def _forbid_change_on_postgresql() -> None:
    op.execute(
        "CREATE FUNCTION labels_append_only() RETURNS trigger LANGUAGE plpgsql AS"
        " $$BEGIN RAISE EXCEPTION 'labels are append-only' USING ERRCODE = 'integrity_constraint_violation'; END$$"
    )
    op.execute(
        "CREATE TRIGGER labels_append_only BEFORE UPDATE OR DELETE ON labels"
        " FOR EACH ROW EXECUTE FUNCTION labels_append_only()"
    )
    op.execute(
        "CREATE TRIGGER labels_no_truncate BEFORE TRUNCATE ON labels"
        " FOR EACH STATEMENT EXECUTE FUNCTION labels_append_only()"
    )
