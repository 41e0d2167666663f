"""A small SQLite file that the threads and processes of a rollout share."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.publish import disk_errors_named
from hitl_ops.contracts.sqlite_wal import enter_wal

# A writer holds the lock for well under a millisecond; half a minute of waiting means that something is stuck.
BUSY_TIMEOUT_S = 30.0


class SharedDatabase:
    """One connection a process to a SQLite file in WAL mode, safe over threads, forks and processes.

    Args:
        path: the file; it and its folder are made where they are missing.
        schema: ``CREATE … IF NOT EXISTS`` statements.
        remedy: what a user does about a damaged file, e.g. "delete it; answers are then asked for again".
    """

    def __init__(self, path: Path, schema: str, *, remedy: str) -> None:
        self.path = path
        self._schema = schema
        self._remedy = remedy
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._process = 0

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Yield the connection inside an immediate (write-locked) transaction.

        Raises:
            UserError: the file is damaged, cannot be written, or the disk is full.
        """
        with self._lock, disk_errors_named(self.path), self._sqlite_errors_named():
            connection = self._open()
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                if connection.in_transaction:  # on a full disk SQLite has rolled back already
                    connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Yield the connection for statements that change nothing.

        Raises:
            UserError: the file is damaged or cannot be opened.
        """
        with self._lock, disk_errors_named(self.path), self._sqlite_errors_named():
            yield self._open()

    def close(self) -> None:
        """Close this process's connection; the next use opens it again."""
        with self._lock:
            if self._connection is not None and self._process == os.getpid():
                self._connection.close()
            self._connection = None

    def _open(self) -> sqlite3.Connection:
        # SQLite connections must not cross a fork: a child opens its own.
        if self._connection is None or self._process != os.getpid():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(
                self.path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
            )
            enter_wal(connection, BUSY_TIMEOUT_S)
            # In WAL mode NORMAL survives a killed process; only a power cut may take back the last commits.
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.executescript(self._schema)
            self._connection, self._process = connection, os.getpid()
        return self._connection

    @contextlib.contextmanager
    def _sqlite_errors_named(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            code = getattr(error, "sqlite_errorcode", None)
            if code == sqlite3.SQLITE_FULL:
                raise UserError(f"disk full while writing '{self.path}'", "free space and run again") from None
            if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
                raise UserError(f"cannot write '{self.path}'", "check its permissions") from None
            if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
                raise UserError(f"'{self.path}' is damaged ({error})", self._remedy) from None
            if code == sqlite3.SQLITE_BUSY:
                raise UserError(
                    f"'{self.path}' stays locked by another process", "end that process, or name another folder"
                ) from None
            raise
