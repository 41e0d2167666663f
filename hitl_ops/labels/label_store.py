"""The label store: the one place for people's invitations, sessions, plays and labels."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Self

from hitl_ops.labels.annotators import Annotators
from hitl_ops.labels.database import utc_now
from hitl_ops.labels.label_log import LabelLog
from hitl_ops.labels.overview import Glance
from hitl_ops.labels.plays import Plays
from hitl_ops.labels.sessions import Sessions


class LabelStore(Annotators, Sessions, Plays, LabelLog, Glance):
    """All of it behind one URL.

    Every call is one short transaction, durable when it returns, and gives back rows that no longer hang on the
    database. Calls block: an event loop makes them from a thread pool, in as many threads and processes as it likes.

    Args:
        url: ``sqlite:///<file>`` or ``postgresql://user:password@host/database``
            (:attr:`hitl_ops.contracts.store.Store.labels_url`).
        clock: what time it is; a test may bring its own.
    """

    @classmethod
    def open(cls, url: str, *, clock: Callable[[], datetime] = utc_now) -> Self:
        """The store at ``url``, its tables made or brought up to date.

        Raises:
            UserError: the URL is of another kind, or the database was made by a newer Flywheel.
            LabelStoreUnavailable: the database does not answer or cannot be written.
        """
        store = cls(url, clock=clock)
        store.migrate()
        return store

    @classmethod
    def open_existing(cls, url: str) -> Self | None:
        """The store at ``url`` for whoever only reads; None where nobody ever said anything: its file is not there.

        It is whoever collects that makes it and brings its tables up to date, so that this does neither. A server is
        always taken to hold one.

        Raises:
            UserError: the URL is of another kind, or PostgreSQL's driver is missing.
        """
        store = cls(url)
        there = not store.is_sqlite or Path(store.url.database or "").expanduser().is_file()
        return store if there else None
