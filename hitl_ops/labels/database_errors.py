"""What a database complains of, in one line that says what to do; passwords never appear in it."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator

from sqlalchemy import exc

from hitl_ops.contracts.errors import UserError
from hitl_ops.labels.errors import LabelStoreUnavailable

_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_FORBIDDEN = (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH)
_DAMAGED = (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT)
_SET_UP = "run 'flywheel collect' once, or LabelStore.migrate()"


@contextlib.contextmanager
def database_errors_named(name: str) -> Iterator[None]:
    """Turn what the user or the operator can mend into one line about the database ``name``.

    Raises:
        LabelStoreUnavailable: locked, unreachable, full or not writable; nothing was stored.
        UserError: not set up yet, damaged, or its tables are in somebody else's way.
    """
    try:
        yield
    except exc.TimeoutError:
        raise LabelStoreUnavailable(
            f"labels database {name}: every connection stays in use", "try again, with fewer at once"
        ) from None
    except exc.DBAPIError as error:
        cause = error.orig
        named = _from_sqlite(cause, name) if isinstance(cause, sqlite3.Error) else _from_postgresql(error, name)
        if named is None:
            raise
        raise named from None


def _from_sqlite(cause: sqlite3.Error, name: str) -> UserError | None:
    # The low byte is the kind; the rest (SQLITE_READONLY_DBMOVED, …) only says more about it.
    code = getattr(cause, "sqlite_errorcode", 0) & 0xFF
    if code in _BUSY:
        return LabelStoreUnavailable(f"labels database {name} stays locked by another process", "end that process")
    if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
        return LabelStoreUnavailable(f"labels database {name} cannot be written ({cause})", "free space on its disk")
    if code in _FORBIDDEN:
        return LabelStoreUnavailable(f"labels database {name} cannot be written ({cause})", "check its permissions")
    if code in _DAMAGED:
        return UserError(f"labels database {name} is damaged ({cause})", "restore it from a copy")
    if str(cause).startswith("no such table"):
        return UserError(f"labels database {name} has not been set up", _SET_UP)
    if str(cause).startswith("table ") and "already exists" in str(cause):
        return UserError(f"labels database {name} holds tables of something else", "give the labels one of their own")
    return None


def _from_postgresql(error: exc.DBAPIError, name: str) -> UserError | None:
    cause = error.orig
    state: str = getattr(cause, "sqlstate", None) or ""
    if state == "42P01":
        return UserError(f"labels database {name} has not been set up", _SET_UP)
    if state == "42P07":
        return UserError(f"labels database {name} holds tables of something else", "give the labels one of their own")
    if state == "55P03":
        return LabelStoreUnavailable(f"labels database {name} stays locked by another process", "end that process")
    if state.startswith("53"):
        return LabelStoreUnavailable(f"labels database {name} has no room left ({_line(cause)})", "make some")
    if state in ("42501", "25006"):
        return LabelStoreUnavailable(f"labels database {name} cannot be written ({_line(cause)})", "grant the rights")
    if isinstance(error, exc.OperationalError) or error.connection_invalidated:
        return LabelStoreUnavailable(
            f"labels database {name} does not answer ({_line(cause)})", "check FLYWHEEL_LABELS_URL and the server"
        )
    return None


def _line(cause: BaseException | None) -> str:
    lines = str(cause).strip().splitlines()
    return lines[0] if lines else type(cause).__name__
