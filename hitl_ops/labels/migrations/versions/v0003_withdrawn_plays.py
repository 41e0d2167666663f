"""Plays that are taken back: they stay in the table and count nowhere."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Say since when, by whom and why a play is withdrawn; none is so far."""
    # Not in a batch: SQLite can add a column in place, and the table, which others refer to, stays where it is.
    op.add_column("episode_plays", sa.Column("withdrawn_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("episode_plays", sa.Column("withdrawn_by", sa.String(80), nullable=True))
    op.add_column("episode_plays", sa.Column("withdrawn_reason", sa.String(200), nullable=True))
