"""Alembic runs this for every upgrade; the connection and its transaction come from ``LabelDatabase.migrate``."""

from __future__ import annotations

from alembic import context

from hitl_ops.labels.database import VERSION_TABLE
from hitl_ops.labels.schema import Base

connection = context.config.attributes["connection"]
# SQLite cannot alter most of a table: there, Alembic writes a new one and moves the rows ("batch").
context.configure(
    connection=connection,
    target_metadata=Base.metadata,
    version_table=VERSION_TABLE,
    render_as_batch=connection.dialect.name == "sqlite",
)
with context.begin_transaction():
    context.run_migrations()
