"""People who annotate, and what an invitation is for."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Invitations are for playing, as all were so far, or for annotating; annotators have a table of their own."""
    # Not in a batch: SQLite can add a column in place, and the table, which others refer to, stays where it is.
    op.add_column("invitations", sa.Column("purpose", sa.String(16), nullable=False, server_default="play"))
    op.create_table(
        "annotators",
        sa.Column("id", sa.String(16), nullable=False),
        sa.Column("token_hash", sa.String(64), nullable=False),
        sa.Column("invitation_id", sa.String(16), nullable=False),
        sa.Column("display_name", sa.String(80), nullable=False),
        sa.Column("program", sa.String(32), nullable=False),
        sa.Column("iteration", sa.Integer(), nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("last_seen_at", _MOMENT, nullable=False),
        sa.Column("seconds_active", sa.Double(), nullable=False),
        sa.CheckConstraint("seconds_active >= 0", name=op.f("ck_annotators_seconds_active")),
        sa.ForeignKeyConstraint(["invitation_id"], ["invitations.id"], name=op.f("fk_annotators_invitation_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_annotators")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_annotators_token_hash")),
    )
    op.create_index(op.f("ix_annotators_invitation_id"), "annotators", ["invitation_id"])
    op.create_index(op.f("ix_annotators_program_iteration"), "annotators", ["program", "iteration"])
