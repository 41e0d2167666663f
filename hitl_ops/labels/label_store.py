"""The label store: the one place for people's invitations, sessions, plays and labels."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
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
